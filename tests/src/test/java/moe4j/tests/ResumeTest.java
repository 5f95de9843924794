package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import moe4j.checkpoint.Checkpoint;
import moe4j.checkpoint.CheckpointStore;
import moe4j.checkpoint.Section;
import moe4j.checkpoint.Slice;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * A run that is stopped and resumed equals one that is not, bit for bit: parameters, optimizer
 * state, losses, expert load and evaluations, with everything random on.
 */
public class ResumeTest {
  private static final String EXPERTS =
      " --num-experts 4 --moe-ffn-hidden-size 16 --moe-aux-loss-coeff 0.01 --moe-z-loss-coeff 0.001";

  /** Large enough that kernels share their work between threads. */
  private static final String LARGER =
      " --hidden-size 64 --seq-length 64 --micro-batch-size 8 --global-batch-size 16"
          + EXPERTS
          + " --moe-ffn-hidden-size 64";

  /** A buffer that follows the load, and losses that sum over a step. */
  private static final String BIAS =
      " --num-experts 4 --moe-ffn-hidden-size 16 --moe-router-score-function sigmoid"
          + " --moe-router-enable-expert-bias --moe-router-load-balancing-type global_aux_loss"
          + " seq_aux_loss --moe-aux-loss-coeff 0.01 0.01";

  private static final String FORCED =
      " --moe-router-force-load-balancing --moe-input-jitter-eps 0.1"
          + " --moe-expert-capacity-factor 1 --moe-pad-expert-input-to-capacity";

  private final Random random = Seeds.random(ResumeTest.class);
  private Workspace workspace;
  private List<String> base;

  @BeforeClass
  public void makeCorpus() throws IOException {
    workspace = new Workspace();
    Path corpus = workspace.corpus("corpus", random, 200);
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 2 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --min-lr 1e-3"
                + " --lr-decay-style cosine --tokenizer-type ByteTokenizer"
                + " --make-vocab-size-divisible-by 1 --attention-dropout 0.1 --hidden-dropout 0.1"
                + " --split 80,10,10 --eval-iters 2 --eval-interval 7 --log-interval 1"
                + " --num-threads 1 --seed",
            random.nextInt(1 << 20),
            "--data-path",
            corpus);
  }

  @AfterClass
  public void deleteCorpus() throws IOException {
    workspace.close();
  }

  @DataProvider
  public Object[][] runs() {
    return new Object[][] {
      {"fp32", "--train-iters 40 --lr-warmup-iters 5" + EXPERTS, 40, 20},
      {"bf16", "--train-iters 40 --lr-warmup-iters 5 --bf16" + EXPERTS, 40, 20},
      {"threads", "--train-iters 14 --num-threads 2" + LARGER, 14, 7},
      {"samples", "--train-samples 160 --lr-warmup-samples 20 --swiglu", 40, 20},
      {"anywhere", "--train-iters 30 --bf16" + EXPERTS, 30, 1 + random.nextInt(29)},
      {"noisy", "--train-iters 16 --num-experts 4 --fmoefy --balance-strategy noisy", 16, 9},
      {"gshard", "--train-iters 16 --num-experts 4 --fmoefy --balance-strategy gshard", 16, 5},
      {"bias", "--train-iters 16" + BIAS, 16, 7},
      {"forced", "--train-iters 16" + EXPERTS + FORCED, 16, 8},
    };
  }

  @Test(dataProvider = "runs")
  public void resumedEqualsStraight(String name, String flags, int steps, int stop)
      throws IOException {
    compare(name, flags, steps, stop);
  }

  @DataProvider
  public Object[][] precisions() {
    return new Object[][] {{"fp32-100", ""}, {"bf16-100", " --bf16"}};
  }

  @Test(dataProvider = "precisions", groups = "slow")
  public void hundredEqualFiftyAndFifty(String name, String flags) throws IOException {
    compare(name, "--train-iters 100 --lr-warmup-iters 10" + flags + EXPERTS, 100, 50);
  }

  private void compare(String name, String flags, int steps, int stop) throws IOException {
    Path straight = workspace.path(name + "-straight");
    Path resumed = workspace.path(name + "-resumed");
    Cli.run(Cli.with(base, flags, "--save", straight)).ok();
    Cli.run(Cli.with(base, flags, "--save", resumed, "--exit-interval", stop)).ok();
    assertEquals(
        RunRecord.of(resumed).steps(),
        IntStream.rangeClosed(1, stop).boxed().toList(),
        "first part");
    Cli.Result second = Cli.run(Cli.with(base, flags, "--save", resumed, "--load", resumed)).ok();
    assertTrue(
        second.out().contains("iter_%07d of iteration %d".formatted(stop, stop)), second.out());

    assertSameState(straight, resumed, steps);
    RunRecord record = RunRecord.of(resumed);
    assertEquals(record.steps(), IntStream.rangeClosed(1, steps).boxed().toList(), "all steps");
    assertEquals(record.measured(), RunRecord.of(straight).measured());
    assertFalse(record.lines("validation").isEmpty());
  }

  private static void assertSameState(Path expected, Path actual, int steps) throws IOException {
    String directory = String.format(Locale.ROOT, "iter_%07d", steps);
    var wanted = Workspace.contents(expected.resolve(directory));
    var found = Workspace.contents(actual.resolve(directory));
    assertEquals(found.keySet(), wanted.keySet());
    int tensorFiles = 0;
    for (String file : wanted.keySet()) {
      if (file.endsWith(".safetensors")) {
        tensorFiles++;
        assertEquals(found.get(file), wanted.get(file), file);
      }
    }
    assertEquals(tensorFiles, 2, "a model's and an optimizer's file in " + wanted.keySet());
    ObjectMapper json = new ObjectMapper();
    for (String count : List.of("iteration", "consumedTrainSamples", "consumedValidSamples")) {
      assertEquals(
          json.readTree(found.get("manifest.json")).get("run").get(count),
          json.readTree(wanted.get("manifest.json")).get("run").get(count),
          count);
    }
  }

  /** The steps behind the last checkpoint are taken again; the record holds them once. */
  @Test
  public void recordHasNoStepTwiceAfterAKill() throws IOException {
    Path straight = workspace.path("kill-straight");
    Path killed = workspace.path("killed");
    String flags = "--train-iters 16 --save-interval 6";
    Cli.run(Cli.with(base, flags, "--save", straight)).ok();
    Cli.run(Cli.with(base, flags, "--save", killed, "--exit-interval", 10)).ok();
    Workspace.delete(killed.resolve("iter_0000010"));
    Cli.Result second = Cli.run(Cli.with(base, flags, "--save", killed, "--load", killed)).ok();
    assertTrue(second.out().contains("of iteration 6"), second.out());
    RunRecord record = RunRecord.of(killed);
    assertEquals(record.steps(), IntStream.rangeClosed(1, 16).boxed().toList());
    assertEquals(record.measured(), RunRecord.of(straight).measured());
    assertSameState(straight, killed, 16);
  }

  /** Weights alone, from step 0: not the steps, the moments or the data's place. */
  @Test
  public void finetuneStartsAnew() throws IOException {
    Path first = workspace.path("pretrained");
    Path tuned = workspace.path("tuned");
    Cli.run(Cli.with(base, "--train-iters 4", "--save", first)).ok();
    Cli.run(Cli.with(base, "--train-iters 0 --finetune", "--load", first, "--save", tuned)).ok();
    assertFalse(Files.exists(tuned.resolve("iter_0000004")));
    Cli.run(Cli.with(base, "--train-iters 3 --finetune", "--load", first, "--save", tuned)).ok();
    assertEquals(RunRecord.of(tuned).steps(), List.of(1, 2, 3));
    double before = RunRecord.of(first).numbers("lm loss")[0];
    assertTrue(
        RunRecord.of(tuned).numbers("lm loss")[0] < before - 0.01, "starts from the weights");
  }

  /** In the course of training at the last step too, and then once more on other samples. */
  @Test
  public void theLastStepIsEvaluatedTwice() throws IOException {
    Path run = workspace.path("evaluated");
    Cli.run(Cli.with(base, "--train-iters 14", "--save", run)).ok();
    List<JsonNode> evaluations = RunRecord.of(run).lines("validation");
    assertEquals(
        evaluations.stream()
            .map(line -> line.get("set").asText() + " " + line.get("step").asInt())
            .toList(),
        List.of("iteration 7", "iteration 14", "validation set again 14", "test set 14"));
    assertNotEquals(evaluations.get(1).get("values"), evaluations.get(2).get("values"));
    JsonNode manifest =
        new ObjectMapper().readTree(run.resolve("iter_0000014/manifest.json").toFile());
    assertEquals(manifest.get("run").get("consumedValidSamples").asInt(), 2 * 2 * 4);
  }

  /** The weights and the run's place, and moments that begin at nothing. */
  @Test
  public void noLoadOptimKeepsWeightsAndPlace() throws IOException {
    for (String precision : List.of("", " --bf16")) {
      Path straight = workspace.path("optim-straight" + precision.strip());
      Path first = workspace.path("optim-first" + precision.strip());
      Path second = workspace.path("optim-second" + precision.strip());
      String flags = "--train-iters 10" + precision + EXPERTS;
      Cli.run(Cli.with(base, flags, "--save", straight)).ok();
      Cli.run(Cli.with(base, flags + " --exit-interval 6", "--save", first)).ok();
      Cli.run(Cli.with(base, flags + " --no-load-optim", "--load", first, "--save", second)).ok();
      Map<Integer, String> wanted = RunRecord.of(straight).texts("lm loss");
      Map<Integer, String> found = RunRecord.of(second).texts("lm loss");
      assertEquals(List.copyOf(found.keySet()), List.of(7, 8, 9, 10));
      assertEquals(found.get(7), wanted.get(7), "the same weights and samples");
      assertNotEquals(found.get(10), wanted.get(10), "other moments");
      assertEquals(optimizerSteps(straight, 10), 10f);
      assertEquals(optimizerSteps(second, 10), 4f);
    }
  }

  private static float optimizerSteps(Path run, int iteration) throws IOException {
    try (Checkpoint checkpoint =
        new CheckpointStore(run, -1).load(iteration, EnumSet.of(Section.OPTIMIZER))) {
      ByteBuffer bytes = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN);
      checkpoint.read("optimizer.state.step", Slice.whole(List.of()), bytes);
      return bytes.getFloat(0);
    }
  }

  /** A checkpoint without optimizer state is refused to a run that wants it. */
  @Test
  public void noSaveOptimLeavesTheStateOut() throws IOException {
    Path run = workspace.path("no-optim");
    Cli.run(Cli.with(base, "--train-iters 4 --no-save-optim", "--save", run)).ok();
    assertEquals(
        Workspace.contents(run.resolve("iter_0000004")).keySet(),
        Set.of("manifest.json", "model_00000-of-00001.safetensors"));
    List<String> line = Cli.with(base, "--train-iters 6", "--load", run, "--save", run);
    Cli.Result refused = Cli.run(line);
    assertEquals(refused.status(), 1);
    assertEquals(
        refused.err().strip(),
        "moe4j pretrain-gpt: checkpoint %s holds no optimizer state: --no-load-optim goes on without it"
            .formatted(run.resolve("iter_0000004")));
    Cli.run(Cli.with(line, "--no-load-optim")).ok();
    assertEquals(RunRecord.of(run).steps(), IntStream.rangeClosed(1, 6).boxed().toList());
    assertTrue(Files.exists(run.resolve("iter_0000006/optimizer_00000-of-00001.safetensors")));
  }

  /** Rotated positions are no weights: sequences may get longer. */
  @Test
  public void otherSequenceLengths() throws IOException {
    Path run = workspace.path("short");
    List<String> line =
        Cli.with(base, "--position-embedding-type rope", "--save", run, "--load", run);
    Cli.run(Cli.with(line, "--train-iters 4")).ok();
    Cli.Result longer =
        Cli.run(Cli.with(line, "--train-iters 6 --seq-length 32 --override-data")).ok();
    assertTrue(longer.out().contains("of iteration 4"), longer.out());
    assertEquals(RunRecord.of(run).steps(), IntStream.rangeClosed(1, 6).boxed().toList());
  }

  /** A run that is already complete trains no further and says its losses again. */
  @Test
  public void completeRunStaysComplete() throws IOException {
    Path run = workspace.path("complete");
    List<String> line = Cli.with(base, "--train-iters 4", "--save", run, "--load", run);
    Cli.run(line).ok();
    var before = Workspace.contents(run.resolve("iter_0000004"));
    List<String> measured = RunRecord.of(run).measured();
    Cli.run(line).ok();
    var after = Workspace.contents(run.resolve("iter_0000004"));
    assertEquals(after.keySet(), before.keySet());
    before.forEach((file, bytes) -> assertEquals(after.get(file), bytes, file));
    assertEquals(RunRecord.of(run).measured().stream().distinct().toList(), measured);
  }
}
