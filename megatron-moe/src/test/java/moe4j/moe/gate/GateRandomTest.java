package moe4j.moe.gate;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.moe.TestLayer;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What gates draw: keyed by step and sample, and by nothing else. */
public class GateRandomTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(GateRandomTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** Gates that draw, with room for all, so that tokens do not depend on each other. */
  @DataProvider
  public Object[][] gates() {
    List<String> lines = new ArrayList<>();
    lines.add("--moe-input-jitter-eps 0.3");
    lines.add("--moe-router-force-load-balancing");
    for (GateSpec gate : Gates.all()) {
      if (gate.draws() != GateSpec.Draws.NOTHING) {
        Integer only = gate.choice().only();
        lines.add(
            "--balance-strategy "
                + gate.name()
                + (only == null ? "" : " --top-k " + only)
                + (gate.limit().takesFactor() ? " --moe-expert-capacity-factor 20" : ""));
      }
    }
    return lines.stream().map(line -> new Object[] {line}).toArray(Object[][]::new);
  }

  private static float[] forward(TestLayer layer, Tensor x, long step, long first) {
    try (NoGradGuard guard = new NoGradGuard()) {
      return Tensors.floats(layer.layer.forward(x, TestLayer.training(step, first, x.size(0))));
    }
  }

  /** A token's output may round otherwise among others, but it is no other expert's. */
  @Test(dataProvider = "gates")
  public void routesDoNotDependOnHowABatchIsCut(String flags) {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 8 " + flags)) {
      Tensor x = Models.normals(random, 6, 5, 8);
      float[] whole = forward(layer, x, 3, 12);
      for (int size : new int[] {1, 2, 3}) {
        for (int from = 0; from < 6; from += size) {
          float[] part = forward(layer, x.narrow(0, from, size), 3, 12 + from);
          float[] same = Arrays.copyOfRange(whole, from * 40, (from + size) * 40);
          assertClose("samples from " + from, part, same, 1e-4, 1e-2);
        }
      }
    }
  }

  /** Whatever the tokens are: benchmarks' routes are even. */
  @Test
  public void forcedRoutesAreEven() {
    String flags =
        "--num-experts 8 --moe-router-force-load-balancing --moe-router-pre-softmax --top-k 1";
    try (TestLayer layer = TestLayer.of(random, flags)) {
      Tensor x = Models.normals(random, 1, 1, 8).expand(40, 50, 8).contiguous();
      Pass pass = TestLayer.training(40);
      layer.layer.forward(x, pass);
      for (long load : Tensors.longs(pass.loads().get(0).tokens())) {
        assertEquals((double) load, 250, 6 * Math.sqrt(250));
      }
      Pass evaluation = Pass.evaluation();
      layer.layer.forward(x, evaluation);
      long[] all = Tensors.longs(evaluation.loads().get(0).tokens());
      assertEquals(Arrays.stream(all).max().orElseThrow(), 2000);
    }
  }
}
