package moe4j.moe;

import static moe4j.moe.BruteForce.Tolerance.BF16;
import static moe4j.moe.BruteForce.Tolerance.FP32;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import moe4j.moe.gate.ExpertChoiceGate;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.Routing;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Experts that choose their tokens, against a loop over experts and tokens in fp64. */
public class ExpertChoiceTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(ExpertChoiceTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** Zhou et al. 2022. */
  private static final class Loop extends BruteForce {
    Loop(TestLayer layer, Tensor hidden) {
      super(layer, hidden);
    }

    @Override
    void route() {
      Double flag = layer.moe.moeExpertCapacityFactor();
      double each = (double) (tokens * topk) / experts;
      int rows = Math.min(tokens, (int) Math.ceil(each * (flag == null ? 1 : flag)));
      Tensor[] probabilities = new Tensor[tokens];
      double[][] scores = new double[experts][tokens];
      for (int t = 0; t < tokens; t++) {
        probabilities[t] = softmax(logits(t));
        double[] ofToken = values(probabilities[t]);
        for (int e = 0; e < experts; e++) {
          scores[e][t] = ofToken[e];
        }
      }
      for (int e = 0; e < experts; e++) {
        int[] taken =
            rows == tokens ? IntStream.range(0, rows).toArray() : largest(scores[e], rows, 0);
        for (int t : taken) {
          routes.add(new Route(t, e, probabilities[t].select(0, e)));
        }
      }
      asked = (long) experts * rows;
    }
  }

  private static String line(int experts, int k, String flags) {
    return "--balance-strategy expert_choice --num-experts %d --top-k %d %s"
        .formatted(experts, k, flags)
        .strip();
  }

  @DataProvider
  public Object[][] layers() {
    return new Object[][] {
      // experts, k, batch, sequence, h, f, flags
      {5, 2, 2, 7, 9, 6, ""},
      {5, 2, 2, 7, 9, 6, "--moe-expert-capacity-factor 0.6 --add-expert-bias"},
      {5, 2, 2, 7, 9, 6, "--moe-expert-capacity-factor 1.7 --swiglu"},
      {4, 4, 1, 6, 8, 5, ""},
      {3, 1, 1, 1, 8, 5, ""},
      {3, 2, 1, 4, 8, 5, "--moe-expert-capacity-factor 100"},
      {1, 1, 1, 9, 8, 5, "--relu"},
      {64, 2, 3, 5, 11, 3, "--squared-relu"},
    };
  }

  @Test(dataProvider = "layers")
  public void isTheLoopOverExpertsAndTokens(
      int experts, int k, int batch, int sequence, int h, int f, String flags) {
    for (Pass pass : new Pass[] {TestLayer.training(batch), Pass.evaluation()}) {
      try (TestLayer layer = new TestLayer(random, h, f, line(experts, k, flags))) {
        BruteForce.check(layer, random, FP32, pass, x -> new Loop(layer, x), batch, sequence, h);
      }
    }
  }

  /** A choice of bf16's is as clear as fp32's: scores are in fp32. */
  @Test
  public void bf16IsNear() {
    try (TestLayer layer =
        new TestLayer(random, 40, 48, line(5, 2, "--add-expert-bias"), ScalarType.BFloat16)) {
      BruteForce.check(
          layer, random, BF16, TestLayer.training(2), x -> new Loop(layer, x), 2, 24, 40);
    }
  }

  /** Of equal probabilities the first tokens' are taken. */
  @Test
  public void amongEqualsTheFirstTokensAreTaken() {
    try (ParameterSet parameters = Models.parameters(ScalarType.Float);
        NoGradGuard guard = new NoGradGuard()) {
      Gate gate = new ExpertChoiceGate(Gate.Shape.of(8, 4, 2), 1, parameters.root());
      Tensor same = Models.normals(random, 1, 8).expand(9, 8).contiguous();
      Routing routing = gate.route(same, Pass.evaluation());
      assertEquals(
          Tensors.longs(routing.token()),
          new long[] {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4});
      assertEquals(Tensors.longs(routing.offsets()), new long[] {5, 10, 15, 20});
      assertEquals(routing.capacity(), 5);
    }
  }

  /** All loads are alike, and the log says what share of the tokens nobody took. */
  @Test
  public void theShareOfTokensWithoutExpertIsLogged() {
    try (TestLayer layer = TestLayer.of(random, line(4, 1, ""))) {
      for (int round = 0; round < 5; round++) {
        Tensor x = Models.normals(random, 2, 12, 8);
        Pass pass = TestLayer.training(2);
        Tensor y = layer.layer.forward(x, pass);
        long[] load = Tensors.longs(pass.loads().get(0).tokens());
        assertEquals(load, new long[] {6, 6, 6, 6});
        float[] values = Tensors.floats(y);
        int without = 0;
        for (int t = 0; t < 24; t++) {
          float[] ofToken = Arrays.copyOfRange(values, 8 * t, 8 * t + 8);
          without += Arrays.equals(ofToken, new float[8]) ? 1 : 0;
        }
        double logged =
            pass.figures().stream()
                .filter(f -> f.name().equals(ExpertChoiceGate.UNTAKEN))
                .mapToDouble(f -> Tensors.item(f.value()))
                .sum();
        assertEquals(logged, without / 24.0, 1e-6);
        assertTrue(pass.losses().isEmpty());
      }
    }
  }
}
