package moe4j.moe;

import static moe4j.moe.BruteForce.Tolerance.BF16;
import static moe4j.moe.BruteForce.Tolerance.FP32;
import static org.testng.Assert.assertEquals;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import moe4j.kernels.dropout.Draw;
import moe4j.moe.gate.GShardGate;
import moe4j.moe.gate.NoisyGate;
import moe4j.moe.gate.SwitchGate;
import moe4j.testing.Seeds;
import moe4j.transformer.Operation;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** FastMoE's gates against a loop over tokens in fp64, their random numbers drawn once more. */
public class FastMoeGatesTest {
  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(FastMoeGatesTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** What the loops of these gates have in common. */
  private abstract static class Loop extends BruteForce {
    final Pass pass;

    Loop(TestLayer layer, Tensor hidden, Pass pass) {
      super(layer, hidden);
      this.pass = pass;
    }

    /** The rate of a capacity: the flag's, or FastMoE's. */
    double rate() {
      Double factor = layer.moe.moeExpertCapacityFactor();
      return factor != null ? factor : pass.isTraining() ? 1.2 : 2.4;
    }

    Tensor uniform(Operation operation, long columns) {
      Tensor like = torch.empty(tokens, columns);
      return Draw.uniform(pass.random(), like, TestLayer.NUMBER + 1, operation.id());
    }

    void add(int token, int[] chosen, Tensor[] weights) {
      for (int j = 0; j < chosen.length; j++) {
        if (chosen[j] >= 0) {
          routes.add(new Route(token, chosen[j], weights[j]));
        }
      }
    }

    /** Drops what is too much, in the tokens' order. */
    void dropLast(int[][] chosen, int rows) {
      int[] taken = new int[experts];
      for (int[] ofToken : chosen) {
        for (int j = 0; j < ofToken.length; j++) {
          if (taken[ofToken[j]]++ >= rows) {
            ofToken[j] = -1;
          }
        }
      }
    }
  }

  private static final class Naive extends Loop {
    Naive(TestLayer layer, Tensor hidden, Pass pass) {
      super(layer, hidden, pass);
    }

    @Override
    void route() {
      for (int t = 0; t < tokens; t++) {
        Tensor logits = logits(t);
        int[] chosen = largest(logits, topk);
        add(t, chosen, softmax(at(logits, chosen)));
      }
    }
  }

  /** Shazeer et al. 2017, equations 3 to 11. */
  private static final class Noisy extends Loop {
    Noisy(TestLayer layer, Tensor hidden, Pass pass) {
      super(layer, hidden, pass);
    }

    @Override
    void route() {
      Tensor like = torch.empty(tokens, experts);
      Tensor draws =
          Draw.normal(pass.random(), like, TestLayer.NUMBER + 1, Operation.GATE_NOISE.id());
      Tensor[] importance = zeros();
      Tensor[] load = zeros();
      for (int t = 0; t < tokens; t++) {
        Tensor logits = logits(t);
        Tensor deviation = leaf(TestLayer.NOISE).mv(seen(t)).exp().add(new Scalar(1)).log();
        deviation = deviation.add(new Scalar(0.01));
        Tensor noisy = logits.add(deviation.mul(draws.select(0, t).to(ScalarType.Double)));
        int[] order = largest(noisy, Math.min(topk + 1, experts));
        int[] chosen = Arrays.copyOf(order, topk);
        Tensor[] weights = softmax(at(noisy, chosen));
        add(t, chosen, weights);
        for (int j = 0; j < topk; j++) {
          importance[chosen[j]] = importance[chosen[j]].add(weights[j]);
        }
        for (int e = 0; e < experts; e++) {
          load[e] = load[e].add(chance(e, logits, deviation, noisy, order));
        }
      }
      losses.put(NoisyGate.LOSS, cvSquared(importance).add(cvSquared(load)));
    }

    private Tensor[] zeros() {
      Tensor[] zeros = new Tensor[experts];
      Arrays.setAll(zeros, e -> torch.zeros(new long[0], x.options()));
      return zeros;
    }

    /** P(the expert is among the k), were its own noise drawn anew. */
    private Tensor chance(int e, Tensor logits, Tensor deviation, Tensor noisy, int[] order) {
      if (topk == experts) {
        return torch.ones(new long[0], x.options());
      }
      boolean isIn = IntStream.range(0, topk).anyMatch(j -> order[j] == e);
      Tensor toBeat = noisy.select(0, order[isIn ? topk : topk - 1]);
      Tensor z = logits.select(0, e).sub(toBeat).div(deviation.select(0, e));
      return times(times(z, 1 / Math.sqrt(2)).erf().add(new Scalar(1)), 0.5);
    }

    private static Tensor cvSquared(Tensor[] values) {
      int n = values.length;
      if (n == 1) {
        return times(values[0], 0);
      }
      Tensor mean = times(sum(values), 1.0 / n);
      Tensor squares = times(mean, 0);
      for (Tensor value : values) {
        squares = squares.add(value.sub(mean).square());
      }
      return times(squares, 1.0 / (n - 1)).div(mean.square().add(new Scalar(1e-10)));
    }
  }

  private static final class GShard extends Loop {
    GShard(TestLayer layer, Tensor hidden, Pass pass) {
      super(layer, hidden, pass);
    }

    @Override
    void route() {
      int[][] chosen = new int[tokens][];
      int[][] first = new int[tokens][];
      Tensor[][] weights = new Tensor[tokens][];
      Tensor[] probabilities = new Tensor[tokens];
      for (int t = 0; t < tokens; t++) {
        Tensor logits = logits(t);
        chosen[t] = largest(logits, 2);
        first[t] = new int[] {chosen[t][0]};
        weights[t] = softmax(at(logits, chosen[t]));
        probabilities[t] = softmax(logits);
      }
      int rows = Math.max(1, (int) Math.ceil(rate() * tokens) * 2 / experts);
      dropLast(chosen, rows);
      if (pass.isTraining()) {
        Tensor draws = uniform(Operation.SECOND_EXPERT, 1);
        for (int t = 0; t < tokens; t++) {
          double draw = value(draws.select(0, t));
          compare(2 * value(weights[t][1]), draw, 1e-6);
          if (2 * value(weights[t][1]) < draw) {
            chosen[t][1] = -1;
          }
        }
        losses.put(GShardGate.LOSS, switchLoss(probabilities, counts(first, experts), 1));
      }
      for (int t = 0; t < tokens; t++) {
        add(t, chosen[t], weights[t]);
      }
    }
  }

  private static final class Switch extends Loop {
    Switch(TestLayer layer, Tensor hidden, Pass pass) {
      super(layer, hidden, pass);
    }

    @Override
    void route() {
      int[][] chosen = new int[tokens][];
      Tensor[] probabilities = new Tensor[tokens];
      Tensor jitter = pass.isTraining() ? uniform(Operation.GATE_NOISE, experts) : null;
      for (int t = 0; t < tokens; t++) {
        Tensor logits = logits(t);
        if (pass.isTraining()) {
          Tensor draws = jitter.select(0, t).to(ScalarType.Double);
          logits = logits.add(times(draws, 0.2)).add(new Scalar(0.9));
        }
        chosen[t] = largest(logits, 1);
        probabilities[t] = softmax(logits);
      }
      dropLast(chosen, (int) Math.ceil(Math.ceil(rate() * tokens) / experts));
      for (int t = 0; t < tokens; t++) {
        int e = chosen[t][0];
        add(t, chosen[t], new Tensor[] {e < 0 ? null : probabilities[t].select(0, e)});
      }
      if (pass.isTraining()) {
        double[] counts = counts(chosen, experts);
        double kept = Arrays.stream(counts).sum();
        double ratio = tokens / kept;
        losses.put(SwitchGate.LOSS, times(switchLoss(probabilities, counts, 1), ratio * ratio));
      }
    }
  }

  /** Places go to those who are first; the others take what is free, in the experts' order. */
  private static final class Swipe extends Loop {
    Swipe(TestLayer layer, Tensor hidden, Pass pass) {
      super(layer, hidden, pass);
    }

    @Override
    void route() {
      int[][] chosen = new int[tokens][];
      Tensor[] logits = new Tensor[tokens];
      for (int t = 0; t < tokens; t++) {
        logits[t] = logits(t);
        chosen[t] = largest(logits[t], topk);
      }
      if (pass.isTraining()) {
        int[] room = new int[experts];
        Arrays.fill(room, (int) Math.ceil(tokens * topk / (double) experts));
        for (int j = 0; j < topk; j++) {
          settle(chosen, j, room);
        }
      }
      for (int t = 0; t < tokens; t++) {
        add(t, chosen[t], softmax(at(logits[t], chosen[t])));
      }
    }

    private void settle(int[][] chosen, int j, int[] room) {
      List<Integer> homeless = new ArrayList<>();
      for (int t = 0; t < tokens; t++) {
        if (room[chosen[t][j]] > 0) {
          room[chosen[t][j]]--;
        } else {
          homeless.add(t);
        }
      }
      int free = 0;
      for (int t : homeless) {
        while (room[free] == 0) {
          free++;
        }
        chosen[t][j] = free;
        room[free]--;
      }
    }
  }

  @DataProvider
  public Object[][] gates() {
    String padded = " --moe-pad-expert-input-to-capacity";
    return new Object[][] {
      // gate, experts, k, batch, sequence, h, f, flags
      {"naive", 5, 2, 2, 7, 9, 6, ""},
      {"naive", 4, 1, 1, 1, 8, 8, "--relu"},
      {"naive", 6, 6, 1, 5, 7, 5, "--swiglu --add-expert-bias"},
      {"naive", 512, 3, 1, 4, 13, 2, ""},
      {"noisy", 5, 2, 2, 7, 9, 6, ""},
      {"noisy", 6, 1, 3, 4, 8, 5, "--add-expert-bias"},
      {"noisy", 4, 4, 2, 3, 8, 5, ""},
      {"noisy", 1, 1, 1, 3, 8, 5, ""},
      {"noisy", 33, 5, 1, 6, 8, 4, "--swiglu"},
      {"gshard", 5, 2, 2, 9, 9, 6, ""},
      {"gshard", 2, 2, 1, 13, 8, 6, "--moe-expert-capacity-factor 0.5"},
      {"gshard", 5, 2, 2, 9, 9, 6, "--moe-expert-capacity-factor 0.7" + padded},
      {"gshard", 64, 2, 1, 5, 9, 6, "--add-expert-bias"},
      {"gshard", 8, 2, 1, 1, 8, 4, padded.strip()},
      {"switch", 5, 1, 2, 9, 9, 6, "--add-expert-bias"},
      {"switch", 3, 1, 1, 17, 8, 6, "--moe-expert-capacity-factor 0.4"},
      {"switch", 3, 1, 1, 17, 8, 6, "--moe-expert-capacity-factor 0.6" + padded},
      {"switch", 16, 1, 1, 1, 5, 3, padded.strip()},
      {"swipe", 5, 2, 2, 9, 9, 6, ""},
      {"swipe", 7, 3, 1, 11, 8, 5, "--swiglu --add-expert-bias"},
      {"swipe", 4, 4, 1, 5, 8, 5, ""},
      {"swipe", 6, 1, 3, 8, 8, 5, ""},
      {"swipe", 9, 2, 1, 1, 8, 5, ""},
    };
  }

  private static Loop loop(String gate, TestLayer layer, Tensor x, Pass pass) {
    return switch (gate) {
      case "naive" -> new Naive(layer, x, pass);
      case "noisy" -> pass.isTraining() ? new Noisy(layer, x, pass) : new Naive(layer, x, pass);
      case "gshard" -> new GShard(layer, x, pass);
      case "switch" -> new Switch(layer, x, pass);
      default -> new Swipe(layer, x, pass);
    };
  }

  private void check(
      String gate, TestLayer layer, BruteForce.Tolerance tolerance, Pass pass, long... shape) {
    BruteForce.check(layer, random, tolerance, pass, x -> loop(gate, layer, x, pass), shape);
    // The mean over the layers that have experts.
    pass.losses().forEach(l -> assertEquals(l.coefficient(), 0.6 / TestLayer.LAYERS, 1e-15));
  }

  private static String line(String gate, int experts, int k, String flags) {
    String weight =
        List.of("noisy", "gshard", "switch").contains(gate) ? "--balance-loss-weight 0.6 " : "";
    return "--balance-strategy %s --num-experts %d --top-k %d %s%s"
        .formatted(gate, experts, k, weight, flags)
        .strip();
  }

  @Test(dataProvider = "gates")
  public void isTheLoopOverTokens(
      String gate, int experts, int k, int batch, int sequence, int h, int f, String flags) {
    for (Pass pass : new Pass[] {TestLayer.training(batch), Pass.evaluation()}) {
      try (TestLayer layer = new TestLayer(random, h, f, line(gate, experts, k, flags))) {
        check(gate, layer, FP32, pass, batch, sequence, h);
      }
    }
  }

  @DataProvider
  public Object[][] bf16Gates() {
    return new Object[][] {{"naive", 2}, {"noisy", 2}, {"gshard", 2}, {"switch", 1}, {"swipe", 2}};
  }

  @Test(dataProvider = "bf16Gates")
  public void bf16IsNear(String gate, int k) {
    try (TestLayer layer =
        new TestLayer(random, 40, 48, line(gate, 5, k, ""), ScalarType.BFloat16)) {
      check(gate, layer, BF16, TestLayer.training(2), 2, 48, 40);
    }
  }
}
