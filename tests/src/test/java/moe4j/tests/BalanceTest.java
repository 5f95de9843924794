package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import moe4j.record.ExpertLoad;
import moe4j.record.MetricsReader;
import moe4j.record.RunHistory.LoadPoint;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

/** What the balance loss is good for, on the demo's corpus and with the demo's experts. */
public class BalanceTest {
  private static final int STEPS = 150;

  @Test(groups = "slow")
  public void theLossBalancesAndTheReportShowsWhatIsWithout()
      throws IOException, InterruptedException {
    try (Workspace workspace = new Workspace()) {
      Path demo = workspace.path("demo");
      long seed = Seeds.seed() % 1000;
      Cli.run("demo --train-iters 1 --corpus", jars(), "--output-dir", demo).ok();
      Path balanced = workspace.path("balanced");
      Path without = workspace.path("without");
      Path balancedLog = workspace.path("balanced.log");
      Path withoutLog = workspace.path("without.log");
      Process one = train(demo, balanced, seed, "--moe-aux-loss-coeff 0.1", balancedLog);
      Process other = train(demo, without, seed, "--moe-aux-loss-coeff 0", withoutLog);
      try {
        awaitWell(one, balancedLog);
        String said = awaitWell(other, withoutLog);
        assertTrue(said.contains("nothing that balances their load"), said);
      } finally {
        one.destroyForcibly();
        other.destroyForcibly();
      }

      for (ExpertLoad.Layer layer : atEnd(balanced)) {
        assertEquals(layer.tokens().size(), 16);
        assertTrue(layer.cv() < 0.3, layer + ": CV " + layer.cv());
        for (int e = 0; e < 16; e++) {
          assertTrue(layer.relative(e) > 0.1, layer + ": expert " + e);
        }
      }
      String good = report(balanced, workspace.path("good"));
      assertTrue(good.contains("the load is balanced"), good);
      assertFalse(good.contains("less than a tenth"), good);
      String bad = report(without, workspace.path("bad"));
      assertTrue(bad.contains("less than a tenth"), bad);
      assertTrue(bad.contains("--moe-aux-loss-coeff 1e-2 adds a loss that does"), bad);
    }
  }

  private static Path jars() {
    return Path.of(System.getProperty("moe4j.root"), "application", "target", "corpus");
  }

  /**
   * The demo's model with experts, but two of its layers, for some steps, in a process and on a
   * core of its own.
   */
  private static Process train(Path demo, Path run, long seed, String balance, Path log)
      throws IOException {
    List<String> line =
        Cli.arguments(
            "pretrain-gpt --num-layers 2 --hidden-size 128 --num-attention-heads 4 --seq-length 256"
                + " --ffn-hidden-size 512 --position-embedding-type rope --normalization RMSNorm"
                + " --qk-layernorm --init-method-std 0.05 --micro-batch-size 4 --lr 6e-3"
                + " --lr-warmup-iters 40 --adam-beta2 0.95 --make-vocab-size-divisible-by 64"
                + " --tokenizer-type ByteTokenizer --split 90,10,0 --eval-iters 1 --log-interval 10"
                + " --num-experts 16 --moe-ffn-hidden-size 256 --num-threads 1",
            "--train-iters",
            STEPS,
            "--seed",
            seed,
            "--data-path",
            demo.resolve("corpus_text_document"),
            "--metrics-dir",
            run);
    return Cli.start(Cli.with(line, balance), log);
  }

  /** What a run said that ended well. */
  private static String awaitWell(Process process, Path log)
      throws IOException, InterruptedException {
    assertTrue(process.waitFor(10, TimeUnit.MINUTES), "the run does not end");
    String said = Files.readString(log);
    assertEquals(process.exitValue(), 0, said);
    return said;
  }

  /** Each layer's load over the last quarter of the run. */
  private static List<ExpertLoad.Layer> atEnd(Path run) throws IOException {
    List<LoadPoint> points = MetricsReader.read(run).expertLoad();
    List<LoadPoint> last = points.subList(points.size() * 3 / 4, points.size());
    List<ExpertLoad.Layer> layers = new ArrayList<>();
    for (int l = 0; l < last.get(0).load().layers().size(); l++) {
      List<Long> tokens = new ArrayList<>();
      for (int e = 0; e < last.get(0).load().layers().get(l).tokens().size(); e++) {
        int layer = l;
        int expert = e;
        tokens.add(
            last.stream().mapToLong(p -> p.load().layers().get(layer).tokens().get(expert)).sum());
      }
      layers.add(new ExpertLoad.Layer(l, tokens, 0, Map.of(), Map.of()));
    }
    return layers;
  }

  private static String report(Path run, Path output) throws IOException {
    Cli.run("compare", run, "--output-dir", output).ok();
    return Files.readString(output.resolve("report.html"));
  }
}
