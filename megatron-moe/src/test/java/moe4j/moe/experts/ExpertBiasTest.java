package moe4j.moe.experts;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import moe4j.moe.TestLayer;
import moe4j.moe.gate.Capacity;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** The bias that follows the load: its rule, and that it evens out what is uneven. */
public class ExpertBiasTest {
  private static final String FLAGS =
      "--moe-router-enable-expert-bias --moe-router-score-function sigmoid";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(ExpertBiasTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private static Tensor bias(TestLayer layer) {
    return layer.buffer("mlp.router.expert_bias");
  }

  private static void endStep(TestLayer layer, double foundInf) {
    try (NoGradGuard guard = new NoGradGuard()) {
      layer.parameters.endStep(Tensors.of(new float[] {(float) foundInf}).select(0, 0));
    }
  }

  /** How often experts are among a token's k largest scores plus bias, and at most so often. */
  private static void count(TestLayer layer, Tensor x, long most, double[] load) {
    double[] asked = new double[load.length];
    Tensor logits = x.flatten(0, -2).mm(layer.parameter(TestLayer.ROUTER).detach().t());
    Tensor searched = logits.sigmoid().add(bias(layer));
    for (long e : Tensors.longs(searched.topk(layer.moe.moeRouterTopk()).get1())) {
      asked[(int) e]++;
    }
    for (int e = 0; e < load.length; e++) {
      load[e] += Math.min(asked[e], (double) most);
    }
  }

  /**
   * By the rate towards the mean of all micro-batches' load, as in Megatron what a capacity keeps.
   */
  @Test
  public void followsTheStepsLoad() {
    for (String capacity :
        new String[] {
          "",
          " --moe-expert-capacity-factor 0.9",
          " --moe-expert-capacity-factor 0.9 --moe-token-drop-policy position",
          " --moe-expert-capacity-factor 1.1 --moe-pad-expert-input-to-capacity"
        }) {
      String flags = "--num-experts 6 --moe-router-bias-update-rate 0.02 " + FLAGS + capacity;
      try (TestLayer layer = TestLayer.of(random, flags)) {
        Capacity most = layer.moe.capacity();
        long rows = most == null ? 18 : most.rows(18, layer.moe.moeRouterTopk(), 6);
        double[] expected = new double[6];
        for (int step = 0; step < 6; step++) {
          double[] load = new double[6];
          for (int i = 0; i < 2; i++) {
            Tensor x = Models.normals(random, 2, 9, 8);
            count(layer, x, rows, load);
            layer.layer.forward(x, TestLayer.training(step, 2L * i, 2));
          }
          layer.layer.forward(Models.normals(random, 2, 9, 8), Pass.evaluation());
          boolean skipped = step == 2 || step == 3;
          endStep(layer, skipped ? 1 : 0);
          double mean = Arrays.stream(load).average().orElseThrow();
          for (int e = 0; e < 6 && !skipped; e++) {
            expected[e] += 0.02 * Math.signum(mean - load[e]);
          }
          assertClose("bias", Tensors.floats(bias(layer)), expected, 1e-5, 1e-3);
        }
      }
    }
  }

  /** Where all is even, and where nothing was routed, it stays. */
  @Test
  public void staysWhereAllIsEven() {
    String flags = "--num-experts 4 --moe-router-topk 4 --moe-router-bias-update-rate 0.5 " + FLAGS;
    try (TestLayer layer = TestLayer.of(random, flags)) {
      endStep(layer, 0);
      layer.layer.forward(Models.normals(random, 2, 9, 8), TestLayer.training(2));
      endStep(layer, 0);
      assertEquals(Tensors.floats(bias(layer)), new float[4]);
    }
  }

  /** It is no parameter: it is saved, and gets no gradient. */
  @Test
  public void isABuffer() {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 4 " + FLAGS)) {
      assertEquals(layer.parameters.buffers().size(), 1);
      assertEquals(bias(layer).requires_grad(), false);
      assertTrue(layer.parameters.all().stream().noneMatch(p -> p.name().contains("expert_bias")));
    }
  }

  /** Scores that are far from even, for whatever token, become so in some hundred steps. */
  @Test
  public void evensOutASkewedLoad() {
    int experts = 8;
    String flags = "--num-experts 8 --moe-router-bias-update-rate 3e-3 " + FLAGS;
    try (TestLayer layer = TestLayer.of(random, flags)) {
      try (NoGradGuard guard = new NoGradGuard()) {
        // A constant channel, of which the first experts make a better score.
        Tensor router = layer.parameter(TestLayer.ROUTER).mul_(new Scalar(0.5));
        Tensor constant = router.select(1, 0);
        float[] skew = new float[experts];
        for (int e = 0; e < experts; e++) {
          skew[e] = 1.5f - e * 0.5f;
        }
        constant.copy_(Tensors.of(skew));
      }
      double first = 0;
      double last = 0;
      for (int step = 0; step < 400; step++) {
        try (PointerScope own = new PointerScope();
            NoGradGuard guard = new NoGradGuard()) {
          Tensor x = Models.normals(random, 4, 32, 8);
          x.select(2, 0).fill_(new Scalar(1));
          Pass pass = TestLayer.training(step, 0, 4);
          layer.layer.forward(x, pass);
          long[] load = Tensors.longs(pass.loads().get(0).tokens());
          double unevenness = Arrays.stream(load).max().orElseThrow() / 32.0;
          first += step < 10 ? unevenness / 10 : 0;
          last += step >= 300 ? unevenness / 100 : 0;
        }
        endStep(layer, 0);
      }
      assertTrue(first > 2, "the first steps' largest load over the mean: " + first);
      assertTrue(last < 1.4, "the last steps': " + last);
    }
  }
}
