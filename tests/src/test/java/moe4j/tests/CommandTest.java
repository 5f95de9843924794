package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.reflect.RecordComponent;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import moe4j.cli.Command;
import moe4j.cli.Main;
import moe4j.cli.SavedGateFlags;
import moe4j.config.CheckpointConfig;
import moe4j.config.DataFlags;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.model.gpt.GptConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.model.txl.CorpusFlags;
import moe4j.model.txl.DeviceFlags;
import moe4j.model.txl.Presets;
import moe4j.model.txl.TrainingFlags;
import moe4j.model.txl.TransformerXlConfig;
import moe4j.model.txl.TransformerXlFamily;
import moe4j.model.txl.UpstreamFlags;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.ParallelConfig;
import moe4j.testing.Seeds;
import moe4j.training.StepBench;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The commands from text to a report, and what their output looks like. */
public class CommandTest {
  private static final String FLOAT = "\\d\\.\\d{6}E[+-]\\d\\d";

  private final Random random = Seeds.random(CommandTest.class);
  private Workspace workspace;
  private Path corpus;
  private List<String> base;

  @BeforeClass
  public void makeCorpus() throws IOException {
    workspace = new Workspace();
    corpus = workspace.corpus("corpus", random, 100);
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 32"
                + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --train-iters 5"
                + " --tokenizer-type ByteTokenizer --eval-iters 0 --log-interval 1"
                + " --num-threads 1 --data-path",
            corpus);
  }

  @AfterClass
  public void deleteCorpus() throws IOException {
    workspace.close();
  }

  @Test
  public void textToReport() throws IOException {
    Path text = workspace.path("text.jsonl");
    List<String> lines = new ArrayList<>();
    long tokens = 0;
    for (int i = 0; i < 300; i++) {
      String line =
          "int a%d = %d; // naïve\\n".formatted(i % 7, i % 3).repeat(1 + random.nextInt(9));
      lines.add("{\"id\": %d, \"text\": \"%s\"}".formatted(i, line));
      tokens += line.replace("\\n", "\n").getBytes(StandardCharsets.UTF_8).length + 1;
    }
    Files.write(text, lines);
    Cli.Result preprocess =
        Cli.run(
            "preprocess --tokenizer-type ByteTokenizer --append-eod --workers 2 --input",
            text,
            "--output-prefix",
            workspace.path("text"));
    Path prefix = workspace.path("text_text_document");
    assertEquals(
        preprocess.ok().out().lines().reduce((a, b) -> b).orElseThrow(), prefix.toString());
    assertTrue(preprocess.out().contains("300 documents, %d tokens".formatted(tokens)));

    String inspected = Cli.run("inspect", prefix).ok().out();
    for (String fact : List.of("documents: 300", "tokens: " + tokens, "dtype: uint16")) {
      assertTrue(inspected.lines().anyMatch(l -> l.startsWith(fact)), fact + " in " + inspected);
    }
    String indices =
        Cli.run("inspect --indices --seq-length 32 --split 8,1,1 --part valid", prefix).ok().out();
    assertTrue(indices.contains("drawn from: sequences 240 to 269"), indices);
    assertTrue(indices.contains("\nshuffle_index: ["), indices);

    Path dense = workspace.path("dense");
    Path experts = workspace.path("experts");
    List<String> train =
        Cli.with(
            base,
            "--train-iters 30 --split 8,1,1 --eval-iters 8 --eval-interval 10 --num-layers 2"
                + " --data-path",
            prefix);
    Cli.run(Cli.with(train, "--save", dense, "--tensorboard-dir", dense.resolve("tb"))).ok();
    Cli.Result second =
        Cli.run(
            Cli.with(
                train, "--num-experts 4 --moe-ffn-hidden-size 32 --run-name E4 --save", experts));
    // The same indices, so the same samples in the same order.
    assertTrue(second.ok().out().contains("Load the GPTDataset train indices from"));
    assertEquals(RunRecord.of(dense).steps(), RunRecord.of(experts).steps());
    assertEquals(dense.resolve("tb").toFile().list().length, 1);

    for (Path run : List.of(dense, experts)) {
      double[] losses = RunRecord.of(run).numbers("lm loss");
      assertTrue(losses[29] < losses[0] - 1, Arrays.toString(losses));
      double validation = lastValidation(run);
      double one = evaluate(run, 1);
      assertEquals(evaluate(run, 7), one, 1e-5);
      assertEquals(one, validation, 0.2, "other samples of the part");
    }

    List<String> generate =
        Cli.arguments("generate --max-new-tokens 24 --prompt int --load", experts);
    String sample = Cli.run(generate).ok().out();
    // Where a sample ends differs between processors, and a document may end at once: three of
    // them.
    String three = "";
    for (int seed = 5; seed < 8; seed++) {
      String hot = Cli.run(Cli.with(generate, "--temperature 2 --seed " + seed)).ok().out();
      assertTrue(hot.startsWith("int"), hot);
      assertNotEquals(hot, sample);
      three += hot.substring("int".length()).strip();
    }
    assertTrue(sample.startsWith("int") && three.length() > 6, sample + three);
    assertEquals(Cli.run(generate).out(), sample, "the same seed");
    String greedy = Cli.run(Cli.with(generate, "--temperature 0 --seed 1")).ok().out();
    assertEquals(Cli.run(Cli.with(generate, "--top-k 1 --seed 2")).ok().out(), greedy);

    Path report = workspace.path("report");
    Cli.Result compare = Cli.run("compare --output-dir", report, dense, experts);
    String page = Files.readString(report.resolve("report.html"));
    assertTrue(page.contains("dense") && page.contains("E4"));
    assertTrue(Files.size(report.resolve("loss.png")) > 1000);
    String said = compare.ok().out().lines().reduce((a, b) -> b).orElseThrow();
    for (Path run : List.of(dense, experts)) {
      String loss = String.format(Locale.ROOT, "%.4f", lastValidation(run));
      assertTrue(said.contains(loss), loss + " in " + said);
    }
  }

  private static double lastValidation(Path run) throws IOException {
    return RunRecord.of(run).lines("validation").stream()
        .filter(line -> List.of("iteration", "validation set").contains(line.get("set").asText()))
        .reduce((a, b) -> b)
        .orElseThrow()
        .get("values")
        .get("lm loss")
        .asDouble();
  }

  private static double evaluate(Path run, int microBatch) {
    String out =
        Cli.run("evaluate --samples 56 --load", run, "--micro-batch-size", microBatch).ok().out();
    Matcher loss = Pattern.compile("lm loss value: (" + FLOAT + ")").matcher(out);
    assertTrue(loss.find(), out);
    return Double.parseDouble(loss.group(1));
  }

  @DataProvider
  public Object[][] commands() {
    return Main.commands().stream()
        .map(command -> new Object[] {command.name(), command})
        .toArray(Object[][]::new);
  }

  @Test(dataProvider = "commands")
  public void helpListsEveryFlag(String name, Command command) {
    List<RecordComponent> flags = new ArrayList<>();
    if (name.equals("pretrain-gpt") || name.equals("bench gpt")) {
      for (Class<?> part :
          List.of(
              GptConfig.class,
              MoeConfig.class,
              OptimizerConfig.class,
              TrainingConfig.class,
              DataFlags.class,
              CheckpointConfig.class,
              LoggingConfig.class,
              ParallelConfig.class)) {
        flags.addAll(List.of(part.getRecordComponents()));
      }
      assertTrue(flags.size() > 80, flags.size() + " flags");
    }
    if (List.of("bench gpt", "bench txl").contains(name)) {
      flags.addAll(List.of(StepBench.Options.class.getRecordComponents()));
    }
    if (name.equals("pretrain-txl") || name.equals("bench txl")) {
      for (Class<?> part :
          List.of(
              Presets.Options.class,
              TransformerXlConfig.class,
              MoeConfig.class,
              TrainingFlags.class,
              CorpusFlags.class,
              DeviceFlags.class,
              ParallelConfig.class,
              UpstreamFlags.class)) {
        flags.addAll(List.of(part.getRecordComponents()));
      }
    }
    if (name.equals("evaluate-txl")) {
      assertEquals(new TransformerXlFamily().evaluationFlags().size(), 2);
      new TransformerXlFamily()
          .evaluationFlags()
          .forEach(type -> flags.addAll(List.of(type.getRecordComponents())));
    }
    if (List.of("evaluate", "evaluate-gpt").contains(name)) {
      assertEquals(new GptFamily().evaluationFlags().size(), 1);
      new GptFamily()
          .evaluationFlags()
          .forEach(type -> flags.addAll(List.of(type.getRecordComponents())));
    }
    if (List.of("pretrain", "bench model").contains(name)) {
      assertTrue(help(name + " --help").contains("\n  --model TEXT "));
      return;
    }
    if (name.matches("evaluate.*|generate")) {
      flags.addAll(List.of(SavedGateFlags.class.getRecordComponents()));
    }
    if (name.equals("plan")) {
      flags.addAll(List.of(GptConfig.class.getRecordComponents()));
    }
    if (List.of("upcycle", "plan", "bench moe").contains(name)) {
      flags.addAll(List.of(MoeConfig.class.getRecordComponents()));
    }
    for (Class<?> type : command.getClass().getDeclaredClasses()) {
      if (type.isRecord()) {
        flags.addAll(List.of(type.getRecordComponents()));
      }
    }
    String help = help(name + " --help");
    assertTrue(help.startsWith("moe4j " + name + " [flags]"), help);
    assertTrue(help.contains(command.summary()));
    for (RecordComponent flag : flags) {
      String line =
          "  --" + flag.getName().replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT) + "[ \n]";
      assertTrue(Pattern.compile("^" + line, Pattern.MULTILINE).matcher(help).find(), line);
    }
    // Every command but those in front of another takes --config, which is no record's.
    int files = command.flags().takesCommand() ? 0 : 1;
    assertEquals(help.lines().filter(l -> l.startsWith("  --")).count(), flags.size() + files);
    assertTrue(help("--help").contains("\n  " + name + " "));
  }

  /** What a line that asks for help prints; a process would print the same, and take a second. */
  private static String help(String line) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    assertEquals(
        Main.run(
            line.split(" "),
            new PrintStream(out, true, StandardCharsets.UTF_8),
            new PrintStream(err, true, StandardCharsets.UTF_8)),
        0);
    assertEquals(err.toString(StandardCharsets.UTF_8), "");
    return out.toString(StandardCharsets.UTF_8);
  }

  /** Intervals count that begin behind the warm-up; of single steps that is every later one. */
  @Test
  public void benchTimesSteps() {
    List<String> bench = Cli.with(base, "--eval-interval 3 --eval-iters 1 --warmup-steps 2");
    bench.set(0, "bench");
    bench.add(1, "gpt");
    assertStepTimes(Cli.with(bench, "--train-iters 7"), 5);
    assertStepTimes(Cli.with(bench, "--train-iters 9 --log-interval 2 --num-experts 4"), 3);
  }

  private static void assertStepTimes(List<String> bench, int figures) {
    long begin = System.nanoTime();
    String out = Cli.run(bench).ok().out();
    double wall = (System.nanoTime() - begin) / 1e6;
    Matcher matcher =
        Pattern.compile(
                "^step time: median (\\d+\\.\\d) ms, (\\d+\\.\\d) to (\\d+\\.\\d)"
                    + " over (\\d+) figures \\| (\\d+) tokens/s$",
                Pattern.MULTILINE)
            .matcher(out);
    assertTrue(matcher.find(), out);
    double median = Double.parseDouble(matcher.group(1));
    double least = Double.parseDouble(matcher.group(2));
    double most = Double.parseDouble(matcher.group(3));
    assertTrue(0 < least && least <= median && median <= most, matcher.group());
    assertTrue(least * figures < wall && most < wall, matcher.group() + " in " + wall);
    assertEquals(Integer.parseInt(matcher.group(4)), figures);
    // 4 sequences of 32 tokens a step, in a time that is rounded to a tenth of a millisecond.
    double tokens = Double.parseDouble(matcher.group(5));
    assertEquals(128e3 / tokens, median, 0.06 + 1e-2 * median, matcher.group());
    assertEquals(out.lines().reduce((a, b) -> b).orElseThrow(), matcher.group());
  }

  @Test
  public void doctorTellsWhatIsThere() {
    String out = Cli.run("doctor").ok().out();
    for (String fact :
        List.of("Java", "threads", "PyTorch presets", "BLAS core type", "libcudart")) {
      assertTrue(
          Pattern.compile("^" + fact + ": +\\S", Pattern.MULTILINE).matcher(out).find(),
          fact + " in " + out);
    }
    // Whatever is missing here, what to install is said; and only then.
    assertEquals(out.contains("install "), out.contains(" not found"), out);
  }

  /** Megatron's own columns, and what it does not have behind them. */
  @Test
  public void logLinesAreMegatrons() {
    String out =
        Cli.run(
                Cli.with(
                    base,
                    "--num-experts 4 --moe-aux-loss-coeff 0.01 --moe-z-loss-coeff 0.001"
                        + " --log-throughput --log-params-norm --log-num-zeros-in-grad"
                        + " --log-interval 2 --eval-iters 1 --eval-interval 2 --split 8,1,1"))
            .ok()
            .out();
    Pattern training =
        Pattern.compile(
            " \\[\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\\.\\d{6}\\]"
                + " iteration (?=[ \\d]{8}/) *(\\d+)/(?=[ \\d]{8} \\|) *5 \\|"
                + " consumed samples: (?=[ \\d]{12} \\|) *(\\d+) \\|"
                + " elapsed time per iteration \\(ms\\): \\d+\\.\\d \\|"
                + " throughput per GPU \\(TFLOP/s/GPU\\): \\d+\\.\\d \\|"
                + (" learning rate: " + FLOAT + " \\|")
                + " global batch size:     4 \\|"
                + (" lm loss: " + FLOAT + " \\|")
                + (" load_balancing_loss: " + FLOAT + " \\|")
                + (" z_loss: " + FLOAT + " \\|")
                + " loss scale: 1\\.0 \\|"
                + " grad norm: \\d+\\.\\d{3} \\|"
                + " num zeros: \\d+ \\|"
                + " params norm: \\d+\\.\\d{3} \\|"
                + " number of skipped iterations:   0 \\|"
                + " number of nan iterations:   0 \\|"
                + " tokens/s: \\d+\\.\\d \\|"
                + " MFU: \\d+\\.\\d% of [^|]+ \\|"
                + " live native pointers: \\d+ \\|"
                + " max/mean expert load: \\d+\\.\\d{3} \\|"
                + " expert load CV: \\d+\\.\\d{3} \\|"
                + " dropped share: 0\\.0000 \\|"
                + " router entropy: \\d+\\.\\d{3} \\|");
    List<String> steps = new ArrayList<>();
    for (String line : out.lines().filter(l -> l.contains("] iteration ")).toList()) {
      Matcher matcher = training.matcher(line);
      assertTrue(matcher.matches(), line);
      assertEquals(4 * Integer.parseInt(matcher.group(1)), Integer.parseInt(matcher.group(2)));
      steps.add(matcher.group(1));
    }
    assertEquals(steps, List.of("1", "2", "4", "5"), "the last interval is a shorter one");
    for (String where : List.of("2", "4", "5 on validation set", "5 on test set")) {
      Pattern validation =
          Pattern.compile(
              "^(-+)\n validation loss at iteration %s \\| lm loss value: %s \\| lm loss PPL: %s \\| \n\\1$"
                  .formatted(where, FLOAT, FLOAT),
              Pattern.MULTILINE);
      assertTrue(validation.matcher(out).find(), where + " in " + out);
    }
    assertTrue(out.contains("\n > datasets target sizes (minimum size):\n    train:      20\n"));
    assertTrue(
        out.contains("\n > padded vocab (size: 257) with 127 dummy tokens (new size: 384)\n"));
    assertTrue(out.contains("\n  moe_router_topk ................................. 2\n"), out);
  }

  /** Not of steps: what fills no batch is drawn and not trained on. */
  @Test
  public void theDataAreAskedForSamples() {
    List<String> line = new ArrayList<>(base);
    int iterations = line.indexOf("--train-iters");
    line.subList(iterations, iterations + 2).clear();
    String out = Cli.run(Cli.with(line, "--train-samples 11")).ok().out();
    assertTrue(out.contains("\n    train:      11\n"), out);
    assertTrue(
        out.contains("] iteration        2/       2 | consumed samples:            8 |"), out);
  }

  @Test
  public void lossesWithoutWeightAreLoggedAsZero() {
    String out =
        Cli.run(Cli.with(base, "--num-experts 4 --moe-z-loss-coeff 0 --train-iters 1")).ok().out();
    assertTrue(out.contains(" load_balancing_loss: 0.000000E+00 | z_loss: 0.000000E+00 |"), out);
  }

  /** Line i has the rate of step i + 1: a first step from a warm-up of 0 changes nothing. */
  @Test
  public void learningRateIsTheNextSteps() throws IOException {
    Path run = workspace.path("rates");
    String flags = "--train-iters 8 --lr-warmup-iters 4 --save-interval 1";
    Cli.run(Cli.with(base, flags, "--save", run)).ok();
    double[] rates = RunRecord.of(run).numbers("learning rate");
    double[] wanted = {0.25e-2, 0.5e-2, 0.75e-2, 1e-2, 0.75e-2, 0.5e-2, 0.25e-2, 0};
    for (int i = 0; i < wanted.length; i++) {
      assertEquals(rates[i], wanted[i], 1e-12, "line " + (i + 1));
    }
    Path still = workspace.path("still");
    Cli.run(Cli.with(base, "--train-iters 1 --lr 0", "--save", still)).ok();
    String model = "model_00000-of-00001.safetensors";
    byte[] initial = Files.readAllBytes(still.resolve("iter_0000001").resolve(model));
    assertEquals(Files.readAllBytes(run.resolve("iter_0000001").resolve(model)), initial);
    assertNotEquals(Files.readAllBytes(run.resolve("iter_0000002").resolve(model)), initial);
  }

  @Test
  public void seedsDecide() throws IOException {
    String dropout = " --hidden-dropout 0.1 --attention-dropout 0.1 --num-experts 4";
    Map<Integer, String> first = losses("seed-1", "--seed 7" + dropout);
    assertEquals(losses("seed-2", "--seed 7" + dropout), first);
    assertNotEquals(losses("seed-3", "--seed 8" + dropout), first);
    assertEquals(first.size(), 5);
  }

  @Test
  public void microBatchesDoNotMatter() throws IOException {
    String flags = " --global-batch-size 8 --hidden-dropout 0.1 --attention-dropout 0.1 --lr 1e-3";
    Map<Integer, String> one = losses("micro-1", "--micro-batch-size 1" + flags);
    for (int micro : new int[] {2, 4, 8}) {
      Map<Integer, String> other = losses("micro-" + micro, "--micro-batch-size " + micro + flags);
      one.forEach(
          (step, loss) ->
              assertEquals(
                  Double.parseDouble(other.get(step)),
                  Double.parseDouble(loss),
                  1e-5,
                  "step %d of micro-batches of %d".formatted(step, micro)));
    }
  }

  /** In sequences so long that documents end in them. */
  @Test
  public void documentFlagsChangeTheLoss() throws IOException {
    String longer = "--bf16 --seq-length 256 ";
    Map<Integer, String> plain = losses("plain", longer.strip());
    List<String> flags =
        List.of("--reset-position-ids", "--reset-attention-mask", "--eod-mask-loss");
    for (String flag : flags) {
      assertNotEquals(losses("with" + flag, longer + flag), plain, flag);
    }
    assertNotEquals(losses("all", String.join(" ", flags) + " --num-experts 2"), plain);
  }

  @Test
  public void otherData() throws IOException {
    Path other = workspace.corpus("other", random, 50);
    assertEquals(losses("blend", "--data-path", 0.3, corpus, 0.7, other).size(), 5);
    assertEquals(losses("two", "--data-path", corpus, corpus, other).size(), 5);
    List<String> mock = new ArrayList<>(base);
    mock.subList(mock.indexOf("--data-path"), mock.size()).clear();
    Path run = workspace.path("mock");
    Cli.run(Cli.with(mock, "--mock-data --eval-iters 1", "--save", run)).ok();
    assertEquals(RunRecord.of(run).steps().size(), 5);
    assertEquals(RunRecord.of(run).lines("validation").size(), 2);
  }

  private Map<Integer, String> losses(String name, String flags, Object... more)
      throws IOException {
    Path run = workspace.path(name);
    Cli.run(Cli.with(Cli.with(base, flags, more), "--metrics-dir", run)).ok();
    return RunRecord.of(run).texts("lm loss");
  }
}
