package moe4j.moe;

import static moe4j.moe.BruteForce.Tolerance.BF16;
import static moe4j.moe.BruteForce.Tolerance.FP32;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import moe4j.tensor.Tensors;
import moe4j.testing.Close;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Quantile balancing against a loop over tokens, and its bias against sorted numbers. */
public class QuantileGateTest {
  private static final String BIAS = "mlp.router.expert_bias";
  private static final int BINS = 1000;

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(QuantileGateTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private static String line(int experts, int k, String flags) {
    return "--balance-strategy quantile --num-experts %d --top-k %d %s"
        .formatted(experts, k, flags)
        .strip();
  }

  /** Kimi K3's router: sigmoids choose with a bias and weigh without it. */
  private static final class Loop extends BruteForce {
    private final double[] bias;

    Loop(TestLayer layer, Tensor hidden) {
      super(layer, hidden);
      this.bias = Close.doubles(Tensors.floats(layer.buffer(BIAS)));
    }

    @Override
    void route() {
      for (int t = 0; t < tokens; t++) {
        Tensor scores = logits(t).sigmoid();
        double[] searched = values(scores);
        for (int e = 0; e < experts; e++) {
          searched[e] += bias[e];
        }
        int[] chosen = largest(searched, topk, 3e-6);
        Tensor[] own = at(scores, chosen);
        Tensor sum = sum(own);
        for (int j = 0; j < topk; j++) {
          routes.add(new Route(t, chosen[j], topk == 1 ? own[j] : own[j].div(sum)));
        }
      }
    }
  }

  private void setBias(TestLayer layer) {
    try (NoGradGuard guard = new NoGradGuard()) {
      Tensor bias = layer.buffer(BIAS);
      bias.copy_(Models.normals(random, bias.numel()).mul(new Scalar(0.3)));
    }
  }

  @DataProvider
  public Object[][] layers() {
    return new Object[][] {
      // experts, k, batch, sequence, h, f, flags
      {5, 2, 2, 7, 9, 6, ""},
      {6, 1, 3, 4, 8, 5, "--add-expert-bias"},
      {4, 4, 1, 5, 8, 5, "--relu"},
      {1, 1, 1, 3, 8, 5, ""},
      {33, 5, 1, 6, 8, 4, "--swiglu"},
    };
  }

  @Test(dataProvider = "layers")
  public void isTheLoopOverTokens(
      int experts, int k, int batch, int sequence, int h, int f, String flags) {
    for (Pass pass : new Pass[] {TestLayer.training(batch), Pass.evaluation()}) {
      try (TestLayer layer = new TestLayer(random, h, f, line(experts, k, flags))) {
        setBias(layer);
        BruteForce.check(layer, random, FP32, pass, x -> new Loop(layer, x), batch, sequence, h);
        assertTrue(pass.losses().isEmpty());
      }
    }
  }

  @Test
  public void bf16IsNear() {
    try (TestLayer layer = new TestLayer(random, 40, 48, line(5, 2, ""), ScalarType.BFloat16)) {
      BruteForce.check(
          layer, random, BF16, TestLayer.training(2), x -> new Loop(layer, x), 2, 24, 40);
    }
  }

  /** In sixteenths, so that logits are the same numbers in whatever product they are computed. */
  private Tensor coarse(long... shape) {
    return Models.normals(random, shape).mul(new Scalar(16)).round().mul(new Scalar(1 / 16.0));
  }

  private static void coarseRouter(TestLayer layer) {
    try (NoGradGuard guard = new NoGradGuard()) {
      Tensor weight = layer.parameter(TestLayer.ROUTER);
      weight.copy_(weight.mul(new Scalar(16)).round().mul(new Scalar(1 / 16.0)));
    }
  }

  private static void forward(TestLayer layer, Tensor x, Pass pass) {
    try (NoGradGuard guard = new NoGradGuard()) {
      layer.layer.forward(x, pass);
    }
  }

  private static void endStep(TestLayer layer, double foundInf) {
    try (NoGradGuard guard = new NoGradGuard()) {
      layer.parameters.endStep(Tensors.of(new float[] {(float) foundInf}, 1).squeeze());
    }
  }

  private static float[] bias(TestLayer layer) {
    return Tensors.floats(layer.buffer(BIAS));
  }

  /** The bias that each expert needs for its share of the tokens, less the mean: sorted numbers. */
  private static double[] quantiles(double[][] scores, double[] bias, int k) {
    int experts = bias.length;
    double[][] needed = new double[experts][scores.length];
    for (int t = 0; t < scores.length; t++) {
      double[] searched = new double[experts];
      for (int e = 0; e < experts; e++) {
        searched[e] = scores[t][e] + bias[e];
      }
      Arrays.sort(searched);
      for (int e = 0; e < experts; e++) {
        needed[e][t] = searched[experts - 1 - k] - scores[t][e];
      }
    }
    double[] quantiles = new double[experts];
    int place = (int) Math.ceil((double) scores.length * k / experts);
    for (int e = 0; e < experts; e++) {
      Arrays.sort(needed[e]);
      quantiles[e] = needed[e][place - 1];
    }
    double mean = Arrays.stream(quantiles).average().orElseThrow();
    return Arrays.stream(quantiles).map(q -> q - mean).toArray();
  }

  private static double[][] scores(TestLayer layer, Tensor x, int[] tokens) {
    Tensor logits = x.view(-1, x.size(2)).mm(layer.parameter(TestLayer.ROUTER).t());
    double[] all = Close.doubles(Tensors.floats(logits.sigmoid()));
    int experts = (int) logits.size(1);
    return IntStream.of(tokens)
        .mapToObj(t -> Arrays.copyOfRange(all, t * experts, (t + 1) * experts))
        .toArray(double[][]::new);
  }

  /** After a step of several micro-batches, some of their tokens padding; several steps. */
  @Test
  public void theBiasIsTheQuantileOfTheStep() {
    for (int k : new int[] {1, 2, 3}) {
      try (TestLayer layer = TestLayer.of(random, line(6, k, ""))) {
        for (int step = 0; step < 4; step++) {
          double[] before = Close.doubles(bias(layer));
          Tensor x = Models.normals(random, 4, 30, 8);
          long[] nobodys = random.ints(120, 0, 4).mapToLong(d -> d == 0 ? 1 : 0).toArray();
          int[] real = IntStream.range(0, 120).filter(t -> nobodys[t] == 0).toArray();
          Tensor padding = Tensors.of(nobodys).to(ScalarType.Bool).view(4, 30);
          for (int from = 0; from < 4; from += 2) {
            Pass pass = TestLayer.training(step, from, 2).padded(padding.narrow(0, from, 2));
            forward(layer, x.narrow(0, from, 2), pass);
          }
          endStep(layer, 0);
          double[] expected = quantiles(scores(layer, x, real), before, k);
          double range = 2 + Arrays.stream(before).max().orElseThrow();
          range -= Arrays.stream(before).min().orElseThrow();
          float[] actual = bias(layer);
          for (int e = 0; e < 6; e++) {
            assertEquals(
                actual[e], expected[e], 2 * range / BINS + 1e-5, "k " + k + " expert " + e);
          }
        }
      }
    }
  }

  @Test
  public void howAStepIsCutIsOfNoConsequence() {
    Tensor x = coarse(4, 9, 8);
    try (TestLayer layer = TestLayer.of(random, line(6, 2, ""))) {
      coarseRouter(layer);
      Tensor zero = Tensors.zeros(ScalarType.Float, x.device(), 6);
      float[] expected = null;
      for (int rows : new int[] {4, 2, 1}) {
        for (int from = 0; from < 4; from += rows) {
          forward(layer, x.narrow(0, from, rows), TestLayer.training(0, from, rows));
        }
        endStep(layer, 0);
        float[] actual = bias(layer);
        assertNotEquals(actual, new float[6]);
        assertEquals(actual, expected == null ? actual : expected);
        expected = actual;
        layer.buffer(BIAS).copy_(zero);
      }
    }
  }

  /** The fullest expert's load over the mean, in evaluation. */
  private static double worst(TestLayer layer, Tensor x) {
    Pass pass = Pass.evaluation();
    forward(layer, x, pass);
    long[] load = Tensors.longs(pass.loads().get(0).tokens());
    double mean = Arrays.stream(load).average().orElseThrow();
    return Arrays.stream(load).max().orElseThrow() / mean;
  }

  /** Where one expert and its likes are everybody's first choice, within a few steps. */
  @Test
  public void anUnevenLoadIsEven() {
    try (TestLayer layer = TestLayer.of(random, line(8, 2, ""))) {
      // Around a point that several experts like alike the load is even: another one is drawn.
      Tensor towards = Models.normals(random, 8);
      for (int draw = 0; draw < 20; draw++) {
        Tensor other = Models.normals(random, 8);
        if (worst(layer, around(other)) > worst(layer, around(towards))) {
          towards = other;
        }
      }
      Tensor fresh = around(towards);
      double before = worst(layer, fresh);
      assertTrue(before > 1.5, "the load is even to begin with, fullest expert " + before);
      for (int step = 0; step < 5; step++) {
        forward(layer, around(towards), TestLayer.training(step, 0, 10));
        endStep(layer, 0);
      }
      assertTrue(worst(layer, fresh) < 1.5, "fullest expert " + worst(layer, fresh));
    }
  }

  /** Ten sequences of 60 tokens around a point. */
  private Tensor around(Tensor point) {
    return Models.normals(random, 10, 60, 8).mul(new Scalar(0.5)).add(point);
  }

  @Test
  public void aSkippedStepAndOneOfPaddingLeaveTheBias() {
    try (TestLayer layer = TestLayer.of(random, line(5, 2, ""))) {
      setBias(layer);
      float[] bias = bias(layer);
      Tensor x = Models.normals(random, 2, 9, 8);
      forward(layer, x, TestLayer.training(2));
      endStep(layer, 1);
      assertEquals(bias(layer), bias);
      // Neither has the skipped step's count been kept.
      Tensor all = Tensors.of(new long[18]).eq(new Scalar(0));
      forward(layer, x, TestLayer.training(2).padded(all));
      endStep(layer, 0);
      assertEquals(bias(layer), bias);
      forward(layer, x, Pass.evaluation());
      endStep(layer, 0);
      assertEquals(bias(layer), bias);
      forward(layer, x, TestLayer.training(2));
      endStep(layer, 0);
      assertNotEquals(bias(layer), bias);
    }
  }

  /** A token that goes to all experts has nothing to choose. */
  @Test
  public void withAllExpertsThereIsNoBias() {
    try (TestLayer layer = TestLayer.of(random, line(3, 3, ""))) {
      forward(layer, Models.normals(random, 2, 9, 8), TestLayer.training(2));
      endStep(layer, 0);
      assertEquals(bias(layer), new float[3]);
    }
  }
}
