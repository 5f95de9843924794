package moe4j.moe.gate;

import static moe4j.testing.Close.assertClose;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.moe.MoeConfig;
import moe4j.moe.TestLayer;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Balance losses: what they are, where they are 1, and how they add up over micro-batches. */
public class BalanceTest {
  private static final String AUX = "load_balancing_loss";
  private static final String SEQUENCE = "seq_load_balancing_loss";
  private static final String GLOBAL = "global_load_balancing_loss";
  private static final String Z = "z_loss";
  private static final String ALL =
      "--moe-router-load-balancing-type seq_aux_loss global_aux_loss aux_loss"
          + " --moe-aux-loss-coeff 0.2 0.1 0.3 --moe-z-loss-coeff 0.05";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(BalanceTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  private static Map<String, Double> losses(Pass pass) {
    Map<String, Double> losses = new LinkedHashMap<>();
    pass.losses().forEach(loss -> losses.put(loss.name(), Tensors.item(loss.value())));
    return losses;
  }

  /** The losses as functions, of random probabilities. */
  @Test
  public void closedForms() {
    int tokens = 30;
    int experts = 7;
    int k = 3;
    Tensor logits = Models.normals(random, tokens, experts);
    double[][] p = new double[tokens][experts];
    float[] values = Tensors.floats(logits);
    double z = 0;
    double entropy = 0;
    for (int t = 0; t < tokens; t++) {
      double sum = 0;
      for (int e = 0; e < experts; e++) {
        sum += Math.exp(values[t * experts + e]);
      }
      z += Math.pow(Math.log(sum), 2) / tokens;
      for (int e = 0; e < experts; e++) {
        p[t][e] = Math.exp(values[t * experts + e]) / sum;
        entropy -= p[t][e] * Math.log(p[t][e]) / tokens;
      }
    }
    long[] chosen = random.longs((long) tokens * k, 0, experts).toArray();
    double[] perSequence = new double[3];
    double whole = 0;
    for (int t = 0; t < tokens; t++) {
      for (int other = 0; other < tokens; other++) {
        for (int j = 0; j < k; j++) {
          double product = p[t][(int) chosen[other * k + j]];
          whole += product * experts / (k * 900.0);
          if (t / 10 == other / 10) {
            perSequence[t / 10] += product * experts / (k * 100.0);
          }
        }
      }
    }
    Tensor probabilities = logits.softmax(1);
    Tensor named = Tensors.of(chosen, tokens, k);
    Tensor counts = Balance.counts(named, experts);
    assertEquals(Tensors.item(Balance.switchLoss(probabilities, counts, k)), whole, 1e-5);
    double mean = (perSequence[0] + perSequence[1] + perSequence[2]) / 3;
    assertEquals(Tensors.item(Balance.sequenceLoss(probabilities, named, 3)), mean, 1e-5);
    assertEquals(Tensors.item(Balance.sequenceLoss(probabilities, named, 1)), whole, 1e-5);
    assertEquals(Tensors.item(Balance.zLoss(logits)), z, 1e-5 * z);
    assertEquals(Tensors.item(Balance.entropy(probabilities)), entropy, 1e-5);
  }

  @Test
  public void countsAndSpread() {
    Tensor chosen = Tensors.of(new long[] {2, -1, 0, 2, -1, 2}, 3, 2);
    assertEquals(Tensors.longs(Balance.counts(chosen, 4)), new long[] {1, 0, 3, 0});
    Tensor x = Tensors.of(new float[] {1, 2, 3, 6});
    // A mean of 3 and squares of 4, 1, 0 and 9.
    assertEquals(Tensors.item(Balance.cvSquared(x)), 14 / 3.0 / 9, 1e-6);
    assertEquals(Tensors.item(Balance.cvSquared(torch.ones(5))), 0.0);
    assertEquals(Tensors.item(Balance.cvSquared(torch.ones(1))), 0.0);
    assertEquals(Tensors.item(Balance.entropy(torch.eye(5))), 0.0);
    Tensor even = Tensors.full(0.125, ScalarType.Float, x.device(), 3, 8);
    assertEquals(Tensors.item(Balance.entropy(even)), Math.log(8), 1e-6);
  }

  /** A gate over as many experts as channels whose logits are its input. */
  private static Gate identity(ParameterSet parameters, int experts, int k, String flags) {
    MoeConfig moe =
        MoeConfig.parse(
            "--num-experts %d --top-k %d %s".formatted(experts, k, flags).strip().split(" ", -1));
    Gate.Shape shape = new Gate.Shape(0, experts, experts, k, 0.02, 1);
    Gate gate =
        switch (String.valueOf(moe.balanceStrategy())) {
          case "gshard" -> new GShardGate(shape, moe.room().quota(), parameters.root());
          case "switch" -> new SwitchGate(shape, moe.room().quota(), parameters.root());
          default -> new TopKRouter(shape, moe.router(), moe.capacity(), parameters.root());
        };
    try (NoGradGuard guard = new NoGradGuard()) {
      Models.parameter(parameters, "weight").copy_(torch.eye(experts));
    }
    return gate;
  }

  @DataProvider
  public Object[][] balanced() {
    String all =
        "--moe-router-load-balancing-type aux_loss seq_aux_loss global_aux_loss"
            + " --moe-aux-loss-coeff 1 1 1 ";
    return new Object[][] {
      {1, all + "--moe-router-pre-softmax"},
      {2, all.strip()},
      {3, all + "--moe-router-score-function sigmoid"},
      {2, all + "--moe-router-score-function sqrtsoftplus"},
      {6, all.strip()},
      {2, "--balance-strategy gshard"},
      {1, "--balance-strategy switch"},
    };
  }

  /** Token t prefers expert t, then t + 1 and so on: choices and probabilities are even. */
  @Test(dataProvider = "balanced")
  public void isOneWhereBalanced(int k, String flags) {
    int experts = 6;
    boolean jittered = flags.endsWith("switch");
    float[] logits = new float[4 * experts * experts];
    for (int t = 0; t < 4 * experts; t++) {
      for (int e = 0; e < experts; e++) {
        // Where logits are jittered, what is not preferred has to be out of reach.
        logits[t * experts + e] = (jittered ? -200 : -0.5f) * Math.floorMod(e - t, experts);
      }
    }
    try (ParameterSet parameters = Models.parameters(ScalarType.Float)) {
      Gate gate = identity(parameters, experts, k, flags);
      Pass pass = TestLayer.training(4);
      gate.route(Tensors.of(logits, 4L * experts, experts), pass);
      assertTrue(!pass.losses().isEmpty());
      losses(pass).forEach((name, value) -> assertEquals(value, 1, 1e-6, name));
    }
  }

  /** Megatron's keys, in the flags' order, with the flags' coefficients. */
  @Test
  public void keysAndCoefficients() {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 4 " + ALL)) {
      Pass pass = TestLayer.training(2);
      layer.layer.forward(Models.normals(random, 2, 3, 8), pass);
      assertEquals(
          pass.losses().stream().map(l -> l.name() + " " + l.coefficient()).toList(),
          List.of(SEQUENCE + " 0.2", GLOBAL + " 0.1", AUX + " 0.3", Z + " 0.05"));
      assertEquals(pass.figures().get(0).name(), "router entropy");
    }
  }

  @Test
  public void evaluationLeavesNone() {
    for (String flags :
        new String[] {
          ALL,
          "--balance-strategy naive",
          "--balance-strategy noisy",
          "--balance-strategy gshard",
          "--balance-strategy switch --top-k 1",
          "--balance-strategy swipe",
          "--balance-strategy expert_choice"
        }) {
      try (TestLayer layer = TestLayer.of(random, "--num-experts 4 " + flags)) {
        Pass pass = Pass.evaluation();
        layer.layer.forward(Models.normals(random, 2, 3, 8), pass);
        assertEquals(pass.losses(), List.of(), flags);
        assertEquals(pass.figures(), List.of(), flags);
        assertEquals(pass.loads().size(), 1);
      }
    }
  }

  /** One micro-batch of a step as a training step takes it: its share of the gradient is added. */
  private static Map<String, Double> microBatch(
      TestLayer layer, Tensor x, Tensor upstream, int index, int of) {
    long samples = x.size(0);
    Pass pass = TestLayer.training(0, index * samples, samples);
    Tensor total = layer.layer.forward(x, pass).mul(upstream).mean();
    for (Pass.SideLoss loss : pass.losses()) {
      total = total.add(loss.value().mul(new Scalar(loss.coefficient())));
    }
    total.mul(new Scalar(1.0 / of)).backward();
    return losses(pass);
  }

  private static void endStep(TestLayer layer, double foundInf) {
    try (NoGradGuard guard = new NoGradGuard()) {
      layer.parameters.endStep(Tensors.of(new float[] {(float) foundInf}).select(0, 0));
    }
  }

  /** Of identical micro-batches the gradient is that of one, in the next step too. */
  @Test
  public void identicalMicroBatchesGiveTheGradientOfOne() {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 5 " + ALL)) {
      Tensor x = Models.normals(random, 3, 5, 8);
      Tensor upstream = Models.normals(random, 3, 5, 8);
      Map<String, Double> single = microBatch(layer, x, upstream, 0, 1);
      endStep(layer, 0);
      float[][] once = gradients(layer);
      for (int step = 0; step < 2; step++) {
        layer.forgetGradients();
        for (int i = 0; i < 4; i++) {
          Map<String, Double> again = microBatch(layer, x, upstream, i, 4);
          single.forEach((name, value) -> assertEquals(again.get(name), value, 1e-6, name));
        }
        endStep(layer, step);
        float[][] fourTimes = gradients(layer);
        for (int p = 0; p < once.length; p++) {
          assertClose("gradient " + p, fourTimes[p], once[p], 1e-5, 1e-3);
        }
      }
    }
  }

  private static float[][] gradients(TestLayer layer) {
    return layer.parameters.all().stream()
        .map(p -> Tensors.floats(p.tensor().grad()))
        .toArray(float[][]::new);
  }

  /** The step's loss is of this micro-batch's probabilities and the mean load up to it. */
  @Test
  public void theStepsLossIsOfTheMeanLoad() {
    int experts = 5;
    try (TestLayer layer = TestLayer.of(random, "--num-experts 5 " + ALL)) {
      for (int step = 0; step < 2; step++) {
        double[] counts = new double[experts];
        for (int i = 0; i < 3; i++) {
          Tensor x = Models.normals(random, 2, 6, 8);
          Tensor upstream = Models.normals(random, 2, 6, 8);
          Tensor logits = x.view(12, 8).mm(layer.parameter(TestLayer.ROUTER).detach().t());
          for (long e : Tensors.longs(logits.topk(2).get1())) {
            counts[(int) e]++;
          }
          float[] mass = Tensors.floats(logits.softmax(1).sum(0));
          double expected = 0;
          for (int e = 0; e < experts; e++) {
            expected += experts * counts[e] / (i + 1) * mass[e] / (2 * 144.0);
          }
          assertEquals(microBatch(layer, x, upstream, i, 3).get(GLOBAL), expected, 1e-5);
        }
        endStep(layer, 1 - step);
      }
    }
  }

  /** The z-loss and the sequences' are means of parts that may be cut in any way. */
  @Test
  public void someLossesDependOnHowABatchIsCut() {
    try (TestLayer layer = TestLayer.of(random, "--num-experts 5 " + ALL)) {
      Tensor x = Models.normals(random, 6, 4, 8);
      Tensor upstream = Models.normals(random, 6, 4, 8);
      Map<String, Double> whole = microBatch(layer, x, upstream, 0, 1);
      double difference = 0;
      for (int parts : new int[] {2, 3, 6}) {
        long size = 6 / parts;
        Map<String, Double> mean = new LinkedHashMap<>();
        for (int i = 0; i < parts; i++) {
          microBatch(
                  layer, x.narrow(0, i * size, size), upstream.narrow(0, i * size, size), i, parts)
              .forEach((name, value) -> mean.merge(name, value / parts, Double::sum));
        }
        assertEquals(mean.get(Z), whole.get(Z), 1e-5 * whole.get(Z));
        assertEquals(mean.get(SEQUENCE), whole.get(SEQUENCE), 1e-5);
        difference = Math.max(difference, Math.abs(mean.get(AUX) - whole.get(AUX)));
      }
      assertTrue(difference > 1e-4, "the micro-batches' loss differs by " + difference);
    }
  }
}
