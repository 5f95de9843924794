package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Flags out of files, the file of flags that a run leaves, and what lists such runs. */
public class ConfigFileTest {
  private static final String FLAGS =
      """
      # A model that is small.
      num-layers: 1
      hidden_size: 8
      num-attention-heads: 2
      seq-length: 16
      micro-batch-size: 2
      train-iters: 3
      log-interval: 1
      lr: 1e-3
      eval-iters: 1
      bf16: false
      log-params-norm: true
      run-name: "007"
      tokenizer-type: ByteTokenizer
      """;

  private Workspace workspace;
  private Path corpus;
  private Path file;

  @BeforeMethod
  public void open() throws IOException {
    workspace = new Workspace();
    corpus = workspace.corpus("corpus", Seeds.random(ConfigFileTest.class), 80);
    file = workspace.path("flags.yaml");
    Files.writeString(file, FLAGS + "data-path: [" + corpus + "]\n");
  }

  @AfterMethod(alwaysRun = true)
  public void close() throws IOException {
    workspace.close();
  }

  @Test
  public void aFilesFlagsAreAsIfTypedAndWhatIsTypedWins() throws IOException {
    Path typed = workspace.path("typed");
    Cli.run(
            "pretrain-gpt --num-layers 1 --hidden-size 8 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --train-iters 2 --log-interval 1 --lr 1e-3 --eval-iters 1"
                + " --log-params-norm --run-name 007 --tokenizer-type ByteTokenizer",
            "--data-path",
            corpus,
            "--save",
            typed)
        .ok();
    Path read = workspace.path("read");
    // In any place: what is typed wins before the file and behind it.
    Cli.run("pretrain-gpt --train-iters 2", "--config", file, "--save", read).ok();
    assertEquals(RunRecord.of(read).measured(), RunRecord.of(typed).measured());
    Path words = workspace.path("words.txt");
    Files.writeString(
        words,
        """
        # As they would be typed in a shell.
        --num-layers 1 --hidden-size 8 --num-attention-heads 2 --seq-length 16 \\
        --micro-batch-size 2 --train-iters 3 --log-interval 1 --lr 1e-3 --eval-iters 1
        --log-params-norm --run-name '0'"0"7 --tokenizer-type ByteTokenizer
        --data-path "%s"
        """
            .formatted(corpus));
    Path at = workspace.path("at");
    Cli.run("pretrain-gpt", "@" + words, "--train-iters", 2, "--save", at).ok();
    assertEquals(RunRecord.of(at).measured(), RunRecord.of(typed).measured());
    assertEquals(RunRecord.of(at).lines("config").get(0).get("name").asText(), "007");
  }

  @Test
  public void aRunLeavesTheFileThatRepeatsIt() throws IOException {
    Path first = workspace.path("first");
    Cli.run("pretrain-gpt", "--config", file, "--save", first, "--num-experts", 2).ok();
    Path second = workspace.path("second");
    String written = Files.readString(first.resolve("config.yaml"));
    assertTrue(written.contains(": moe4j pretrain --model gpt --config FILE\n"), written);
    Cli.run("pretrain --model gpt --config", first.resolve("config.yaml"), "--save", second).ok();
    assertEquals(RunRecord.of(second).measured(), RunRecord.of(first).measured());
    // Taking a run up does not make its file one that takes up.
    Cli.run(
            "pretrain-gpt",
            "--config",
            first.resolve("config.yaml"),
            "--load",
            first,
            "--train-iters",
            4)
        .ok();
    String resumed = Files.readString(first.resolve("config.yaml"));
    assertTrue(resumed.contains("train-iters: 4\n"), resumed);
    assertFalse(resumed.contains("\nload:"), resumed);
  }

  @Test
  public void aTransformerXlLeavesOneToo() throws IOException {
    Path text = workspace.path("text");
    Files.writeString(text, "to be or not to be, that is the question. ".repeat(200));
    Path first = workspace.path("first");
    Cli.run(
            "pretrain-txl --n-layer 1 --d-model 8 --d-embed 8 --n-head 2 --d-head 4 --d-inner 8"
                + " --tgt-len 8 --mem-len 8 --eval-tgt-len 8 --batch-size 2 --eval-batch-size 2"
                + " --max-step 3 --log-interval 1 --eval-interval 3 --split-bytes 80,10,10",
            "--data-file",
            text,
            "--work-dir",
            first)
        .ok();
    Path second = workspace.path("second");
    Cli.run("pretrain-txl", "--config", first.resolve("config.yaml"), "--work-dir", second).ok();
    assertEquals(RunRecord.of(second).measured(), RunRecord.of(first).measured());
  }

  @DataProvider
  public Object[][] unusable() {
    return new Object[][] {
      {"lr: [1e-3\nnum-layers: 2", "line 2 is no YAML"},
      {"- a\n- b", "is to be a list of flags with their values"},
      {"lr: 1\nlr: 2", "line 2: lr stands there twice"},
      {"lr:\n  max: 1", "line 2: lr holds other keys"},
      {"data-path: [[a]]", "line 1: data-path is a list of lists"},
      {"[".repeat(20_000), "is nested too deep"},
      {"num-layer: 2", "unknown flag --num-layer; did you mean --num-layers?"},
    };
  }

  @Test(dataProvider = "unusable")
  public void oneThatCannotBeUsedIsRefusedWithItsLine(String text, String sentence)
      throws IOException {
    Files.writeString(file, text);
    Cli.Result result = Cli.run("pretrain-gpt", "--config", file);
    assertEquals(result.status(), 2, result.err());
    assertTrue(result.err().contains(sentence), result.err());
    assertFalse(result.err().contains("snakeyaml"), result.err());
  }

  @Test
  public void filesThatCannotBeReadAreRefusedByName() throws IOException {
    Path missing = workspace.path("missing");
    assertRefused("--config %s: there is no such file".formatted(missing), "--config", missing);
    assertRefused("@%s: there is no such file".formatted(missing), "@" + missing);
    Path directory = Files.createDirectory(workspace.path("directory"));
    assertRefused("is a directory", "--config=" + directory);
    Files.write(file, "lr: \u00e9".getBytes(StandardCharsets.ISO_8859_1));
    assertRefused("is not UTF-8", "--config", file);
    Files.writeString(file, "--run-name 'never closed");
    assertRefused("a quote is not closed", "@" + file);
    assertRefused("--config needs a file after it", "--config");
    Files.write(file, new byte[(1 << 20) + 1]);
    assertRefused("has more than 1048576 bytes", "--config", file);
  }

  private static void assertRefused(String sentence, Object... words) {
    Cli.Result result = Cli.run("pretrain-gpt", words);
    assertEquals(result.status(), 2, result.err());
    assertTrue(result.err().contains(sentence), result.err());
  }

  @Test
  public void runsAreListedAndComparedWithoutWhatIsNone() throws IOException {
    Path runs = workspace.path("runs");
    Path done = runs.resolve("done");
    Path stopped = runs.resolve("deeper").resolve("stopped");
    Cli.run("pretrain-gpt", "--config", file, "--save", done, "--run-name", "a").ok();
    Cli.run("pretrain-gpt", "--config", file, "--exit-interval", 2, "--save", stopped).ok();
    Path empty = Files.createDirectories(runs.resolve("empty"));
    List<String> lines = Cli.run("runs", runs).ok().out().lines().toList();
    assertEquals(lines.size(), 3, lines.toString());
    assertTrue(lines.get(0).startsWith("name  directory"), lines.get(0));
    assertTrue(
        lines
            .get(1)
            .matches("007 .*/stopped +GPT \\d+K +2 of 3 +\\d\\.\\d{4} +- +stopped +2, 20.*"),
        lines.get(1));
    assertTrue(
        lines.get(2).matches("a .*/done +GPT \\d+K +3 of 3( +\\d\\.\\d{4}){2} +done +3, 20.*"),
        lines.get(2));

    Cli.Result compared =
        Cli.run("compare", done, empty, stopped, "--output-dir", workspace.path("report")).ok();
    assertTrue(compared.err().contains(empty + " is left out: "), compared.err());
    assertEquals(Cli.run("compare", empty).status(), 1);
    assertEquals(Cli.run("runs", empty).ok().out(), "no run lies below " + empty + "\n");
    assertEquals(Cli.run("runs", workspace.path("none")).status(), 2);
  }

  /** A record is worth less than a checkpoint: a damaged one does not keep a run from going on. */
  @Test
  public void aDamagedRecordKeepsNoRunFromGoingOn() throws IOException {
    Path run = workspace.path("run");
    Cli.run("pretrain-gpt", "--config", file, "--save", run).ok();
    Files.writeString(run.resolve("metrics.jsonl"), "no record\nat all\n");
    String[] onward = {"--config", file.toString(), "--save", run.toString(), "--auto-resume"};
    List<String> line = Cli.with(List.of("pretrain-gpt"), "--train-iters 4", (Object[]) onward);
    Cli.Result resumed = Cli.run(line).ok();
    assertTrue(
        resumed.out().contains("is kept as " + run.resolve("metrics.1.jsonl")), resumed.out());
    assertEquals(RunRecord.of(run).steps(), List.of(4));
    // Once more: there is nothing left to do, which is told.
    assertTrue(
        Cli.run(line).ok().out().contains("stands at 4: nothing is left to train"),
        "a run that is at its end says so");
  }

  @Test
  public void versionAndHelpAreWhereTheyAreLookedFor() {
    for (String word : List.of("--version", "-V", "version")) {
      assertTrue(Cli.run(List.of(word)).ok().out().matches("moe4j \\S+ \\(commit .+\\)\n"));
    }
    assertEquals(Cli.run(List.of("-h")).ok().out(), Cli.run(List.of("--help")).ok().out());
    String help = Cli.run("pretrain-gpt -h").ok().out();
    assertEquals(help, Cli.run("pretrain-gpt --help").ok().out());
    assertTrue(help.contains("--config FILE"), help);
    assertFalse(Cli.run("launch -h").ok().out().contains("--config FILE"));
  }
}
