package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import moe4j.config.TrainingConfig;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.testing.Seeds;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Experts whose update is made behind the next forward are, wherever one looks, what they are when
 * it is made at the step's end. On the CPU nothing runs beside the forward, but the order is that
 * of the GPU.
 */
public class LateUpdateTest {
  private static final int STEPS = 7;

  private final Random random = Seeds.random(LateUpdateTest.class);
  private Workspace workspace;
  private String base;

  @BeforeClass
  public void open() throws IOException {
    workspace = new Workspace();
    base =
        "--num-layers 3 --hidden-size 16 --num-attention-heads 2 --seq-length 16 --lr 1e-2"
            + " --micro-batch-size 2 --num-experts 4 --moe-layer-freq [1,0,1]"
            + " --moe-ffn-hidden-size 16 --mock-data --tokenizer-type NullTokenizer --vocab-size 60"
            + " --hidden-dropout 0.1 --eval-iters 1 --eval-interval 4 --save-interval 3"
            + " --num-threads 1 --train-iters "
            + STEPS
            + " --seed "
            + random.nextInt(1 << 20);
  }

  @AfterClass
  public void close() throws IOException {
    workspace.close();
  }

  private void run(boolean late, Path save, String flags) throws Exception {
    List<String> line = Cli.arguments(base + flags, "--save", save);
    RunConfig parsed = GptFamily.parse(line.toArray(new String[0]));
    RunConfig config =
        new RunConfig(
            parsed.model(),
            parsed.optimizer(),
            late ? late(parsed.training()) : parsed.training(),
            parsed.data(),
            parsed.checkpoint(),
            parsed.logging(),
            parsed.parallel());
    Cli.quietly(
        () ->
            Pretraining.run(
                config,
                new SmallGpt(config, UnaryOperator.identity()),
                ShutdownSignal.none(),
                new Watcher() {}));
  }

  /** A command line would ask for a GPU. */
  private static TrainingConfig late(TrainingConfig t) {
    return new TrainingConfig(
        t.microBatchSize(),
        t.globalBatchSize(),
        t.trainIters(),
        t.trainSamples(),
        t.seed(),
        t.bf16(),
        t.evalIters(),
        t.evalInterval(),
        t.exitInterval(),
        t.exitDurationInMins(),
        t.noCheckForNanInLossAndGrad(),
        t.device(),
        t.cudaGraph(),
        t.attentionBackend(),
        t.deterministicMode(),
        t.noFusedKernels(),
        true,
        t.numThreads());
  }

  @DataProvider
  public Object[][] runs() {
    return new Object[][] {
      {"bf16", " --bf16 --global-batch-size 2 --log-interval 2 --log-params-norm", true},
      {"micro-batches", " --global-batch-size 6 --log-interval 1 --log-num-zeros-in-grad", false},
    };
  }

  @Test(dataProvider = "runs")
  public void theBitsAreThoseOfAnUpdateAtTheEnd(String name, String flags, boolean resume)
      throws Exception {
    Path straight = workspace.path(name);
    Path late = workspace.path(name + "-late");
    Path resumed = workspace.path(name + "-resumed");
    run(false, straight, flags);
    run(true, late, flags);
    assertEquals(RunRecord.of(late).measured(), RunRecord.of(straight).measured());
    for (int saved : List.of(3, 6, STEPS)) {
      assertSame(late, straight, saved);
    }

    if (resume) {
      run(true, resumed, flags + " --exit-interval 5");
      run(true, resumed, flags + " --load " + resumed);
      assertSame(resumed, straight, STEPS);
    }
  }

  private static void assertSame(Path actual, Path expected, int step) throws IOException {
    Map<String, byte[]> found = tensors(actual, step);
    Map<String, byte[]> wanted = tensors(expected, step);
    assertEquals(found.keySet(), wanted.keySet());
    for (String file : wanted.keySet()) {
      assertTrue(
          Arrays.equals(found.get(file), wanted.get(file)), "iteration " + step + ", " + file);
    }
  }

  private static Map<String, byte[]> tensors(Path run, int step) throws IOException {
    Map<String, byte[]> tensors =
        new TreeMap<>(Workspace.contents(run.resolve("iter_%07d".formatted(step))));
    tensors.keySet().removeIf(file -> !file.endsWith(".safetensors"));
    assertFalse(tensors.isEmpty());
    return tensors;
  }
}
