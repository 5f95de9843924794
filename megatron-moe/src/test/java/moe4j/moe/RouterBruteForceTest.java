package moe4j.moe;

import static moe4j.moe.BruteForce.Tolerance.BF16;
import static moe4j.moe.BruteForce.Tolerance.FP32;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import moe4j.kernels.dropout.Draw;
import moe4j.tensor.StepRandom;
import moe4j.testing.Seeds;
import moe4j.transformer.Models;
import moe4j.transformer.Operation;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Megatron's router with all its options against a loop over tokens in fp64. */
public class RouterBruteForceTest {
  private static final String BIAS = "mlp.router.expert_bias";

  private Random random;
  private PointerScope scope;

  @BeforeMethod
  public void open() {
    random = Seeds.random(RouterBruteForceTest.class);
    scope = new PointerScope();
  }

  @AfterMethod
  public void close() {
    scope.close();
  }

  /** Megatron's router as its documents have it. */
  private static final class Megatron extends BruteForce {
    final MoeConfig flags;
    final int sequences;
    final Tensor factors;

    Megatron(TestLayer layer, Tensor hidden, Pass pass) {
      super(layer, hidden);
      this.flags = layer.moe;
      this.sequences = Math.toIntExact(pass.random().samples());
      this.factors = flags.moeInputJitterEps() == null ? null : factors(pass.random());
    }

    /** From U[1 - eps, 1 + eps). */
    private Tensor factors(StepRandom draws) {
      double epsilon = flags.moeInputJitterEps();
      Tensor uniform =
          Draw.uniform(draws, x.detach(), TestLayer.NUMBER + 1, Operation.GATE_NOISE.id());
      return times(uniform.to(ScalarType.Double), 2 * epsilon).add(new Scalar(1 - epsilon));
    }

    @Override
    Tensor seen(int token) {
      return factors == null ? super.seen(token) : super.seen(token).mul(factors.select(0, token));
    }

    private boolean is(String score) {
      return flags.moeRouterScoreFunction().equals(score);
    }

    private Tensor scores(Tensor logits) {
      if (is("sigmoid")) {
        return logits.sigmoid();
      }
      if (is("sqrtsoftplus")) {
        return logits.exp().add(new Scalar(1)).log().sqrt();
      }
      return flags.moeRouterPreSoftmax() ? softmax(logits) : logits;
    }

    /** What experts are compared by: scores, and a bias of each. */
    private double[] searched(Tensor scores) {
      double[] searched = values(scores);
      if (flags.moeRouterEnableExpertBias()) {
        double[] bias = values(layer.buffer(BIAS));
        for (int e = 0; e < experts; e++) {
          searched[e] += bias[e];
        }
      }
      return searched;
    }

    /** How far apart scores have to be, beside their own rounding. */
    private double apart() {
      return flags.moeRouterPreSoftmax() ? 0 : 3e-6;
    }

    private int[] chosen(Tensor scores) {
      double[] searched = searched(scores);
      if (flags.moeRouterNumGroups() == null) {
        return largest(searched, topk, apart());
      }
      int groups = flags.moeRouterNumGroups();
      int each = experts / groups;
      double[] values = new double[groups];
      for (int g = 0; g < groups; g++) {
        double[] members = java.util.Arrays.copyOfRange(searched, g * each, (g + 1) * each);
        for (int best : largest(members, topk / flags.moeRouterGroupTopk(), apart())) {
          values[g] += members[best];
        }
      }
      int[] best = largest(values, flags.moeRouterGroupTopk(), 3 * apart());
      for (int e = 0; e < experts; e++) {
        int group = e / each;
        if (IntStream.of(best).noneMatch(g -> g == group)) {
          searched[e] = Double.NEGATIVE_INFINITY;
        }
      }
      return largest(searched, topk, apart());
    }

    private Tensor[] weights(Tensor scores, int[] chosen) {
      Tensor[] weights = at(scores, chosen);
      if (is("softmax") && !flags.moeRouterPreSoftmax()) {
        weights = softmax(weights);
      } else if (!is("softmax") && topk > 1) {
        Tensor sum = sum(weights).add(new Scalar(1e-20));
        for (int j = 0; j < topk; j++) {
          weights[j] = weights[j].div(sum);
        }
      }
      double scaling =
          flags.moeRouterTopkScalingFactor() == null ? 1 : flags.moeRouterTopkScalingFactor();
      for (int j = 0; j < topk; j++) {
        weights[j] = times(weights[j], scaling);
      }
      return weights;
    }

    @Override
    void route() {
      Tensor[] probabilities = new Tensor[tokens];
      TensorVector logSums = new TensorVector();
      int[][] plain = new int[tokens][];
      List<List<Route>> ofExpert = new ArrayList<>();
      IntStream.range(0, experts).forEach(e -> ofExpert.add(new ArrayList<>()));
      for (int t = 0; t < tokens; t++) {
        Tensor logits = logits(t);
        Tensor scores = scores(logits);
        logSums.push_back(logits.exp().sum().log());
        probabilities[t] = is("softmax") ? softmax(logits) : scores.div(scores.sum());
        plain[t] = largest(logits, topk);
        int[] chosen = chosen(scores);
        Tensor[] weights = weights(scores, chosen);
        for (int j = 0; j < topk; j++) {
          ofExpert.get(chosen[j]).add(new Route(t, chosen[j], weights[j]));
        }
      }
      ofExpert.forEach(all -> routes.addAll(kept(all)));
      for (String type : flags.moeRouterLoadBalancingType()) {
        switch (type) {
          case "aux_loss" ->
              losses.put(
                  "load_balancing_loss", switchLoss(probabilities, counts(plain, experts), topk));
          case "global_aux_loss" ->
              losses.put(
                  "global_load_balancing_loss",
                  switchLoss(probabilities, counts(plain, experts), topk));
          case "seq_aux_loss" ->
              losses.put("seq_load_balancing_loss", ofSequences(probabilities, plain));
          default -> {}
        }
      }
      if (flags.moeZLossCoeff() != null) {
        losses.put("z_loss", torch.stack(logSums).square().mean());
      }
    }

    private Tensor ofSequences(Tensor[] probabilities, int[][] plain) {
      int length = tokens / sequences;
      Tensor[] each = new Tensor[sequences];
      for (int s = 0; s < sequences; s++) {
        int from = s * length;
        each[s] =
            switchLoss(
                java.util.Arrays.copyOfRange(probabilities, from, from + length),
                counts(java.util.Arrays.copyOfRange(plain, from, from + length), experts),
                topk);
      }
      return times(sum(each), 1.0 / sequences);
    }

    /** What an expert takes of the routes to it, which are in the tokens' order. */
    private List<Route> kept(List<Route> all) {
      if (flags.moeExpertCapacityFactor() == null) {
        return all;
      }
      double each = (double) (tokens * topk) / experts;
      int rows = (int) Math.ceil(each * flags.moeExpertCapacityFactor());
      if (rows >= all.size()) {
        return all;
      }
      if (flags.moeTokenDropPolicy().equals("position")) {
        return all.subList(0, rows);
      }
      List<Route> ordered = new ArrayList<>(all);
      ordered.sort(Comparator.comparingDouble(route -> -value(route.weight())));
      compare(value(ordered.get(rows - 1).weight()), value(ordered.get(rows).weight()), 1e-6);
      return ordered.subList(0, rows);
    }
  }

  private static final String LOSSES =
      "--moe-router-load-balancing-type aux_loss seq_aux_loss global_aux_loss"
          + " --moe-aux-loss-coeff 0.3 0.2 0.1 --moe-z-loss-coeff 0.05";

  @DataProvider
  public Object[][] routers() {
    String groups = "--moe-router-num-groups 4 --moe-router-group-topk 2";
    String bias = "--moe-router-enable-expert-bias";
    String sigmoid = "--moe-router-score-function sigmoid";
    String softplus = "--moe-router-score-function sqrtsoftplus";
    String drop = "--moe-expert-capacity-factor 0.7";
    String first = drop + " --moe-token-drop-policy position";
    String padded = " --moe-pad-expert-input-to-capacity";
    return new Object[][] {
      // experts, k, batch, sequence, h, f, flags
      {5, 2, 2, 7, 12, 8, ""},
      {5, 5, 1, 3, 7, 9, ""},
      {3, 1, 1, 1, 5, 3, "--moe-router-pre-softmax"},
      {6, 3, 3, 5, 11, 6, "--moe-router-pre-softmax --swiglu"},
      {6, 3, 1, 13, 9, 5, "--moe-router-pre-softmax --moe-router-topk-scaling-factor 2.5"},
      {7, 1, 2, 6, 8, 8, sigmoid},
      {7, 3, 2, 6, 10, 7, sigmoid + " --add-expert-bias"},
      {7, 7, 1, 5, 6, 4, sigmoid + " --moe-router-topk-scaling-factor 0.5"},
      {9, 4, 1, 11, 8, 8, softplus},
      {9, 1, 1, 4, 8, 8, softplus + " --relu"},
      {12, 4, 2, 5, 9, 6, groups},
      {12, 4, 2, 5, 9, 6, groups + " --moe-router-pre-softmax"},
      {12, 2, 1, 9, 9, 6, groups + " " + sigmoid},
      {8, 4, 1, 9, 9, 6, groups + " " + softplus},
      {8, 2, 2, 9, 8, 8, bias + " " + sigmoid},
      {16, 6, 2, 4, 8, 8, bias + " " + groups + " " + sigmoid + " --squared-relu"},
      {8, 3, 1, 9, 8, 8, bias + " " + softplus},
      {5, 2, 2, 10, 8, 6, drop},
      {5, 2, 2, 10, 8, 6, first + " --add-expert-bias --squared-relu"},
      {5, 2, 2, 10, 8, 6, drop + padded + " --add-expert-bias"},
      {5, 2, 2, 10, 8, 6, first + padded + " --swiglu"},
      {6, 3, 1, 17, 7, 5, drop + padded + " " + bias + " " + sigmoid},
      {4, 4, 1, 1, 8, 8, drop + padded},
      {6, 2, 2, 8, 8, 6, "--moe-expert-capacity-factor 9" + padded},
      {6, 2, 3, 4, 13, 6, "--moe-input-jitter-eps 0.2"},
      {6, 2, 3, 4, 8, 6, "--moe-input-jitter-eps 0.01 " + first + " --moe-router-pre-softmax"},
      {512, 8, 1, 6, 16, 3, sigmoid},
      {511, 3, 2, 3, 16, 3, "--moe-expert-capacity-factor 1.5" + padded},
      {6, 2, 2, 5, 9, 7, "--moe-shared-expert-intermediate-size 5 --swiglu"},
      {
        6,
        2,
        2,
        5,
        9,
        7,
        "--add-expert-bias --moe-shared-expert-intermediate-size 11 --moe-shared-expert-gate"
      },
    };
  }

  @Test(dataProvider = "routers")
  public void isTheLoopOverTokens(
      int experts, int k, int batch, int sequence, int h, int f, String flags) {
    String line =
        "--num-experts %d --moe-router-topk %d %s %s".formatted(experts, k, LOSSES, flags);
    try (TestLayer layer = new TestLayer(random, h, f, line)) {
      bias(layer);
      check(layer, FP32, batch, sequence, h);
    }
  }

  private void bias(TestLayer layer) {
    if (layer.moe.moeRouterEnableExpertBias()) {
      Tensor bias = layer.buffer(BIAS);
      bias.copy_(Models.normals(random, bias.size(0)).mul(new Scalar(0.3)));
    }
  }

  private void check(TestLayer layer, BruteForce.Tolerance tolerance, long... shape) {
    Pass pass = TestLayer.training(shape[0]);
    BruteForce.check(layer, random, tolerance, pass, x -> new Megatron(layer, x, pass), shape);
  }

  /** One expert gets every token, the others none; with a capacity some are dropped. */
  @Test
  public void oneExpertMayGetAll() {
    for (String capacity : new String[] {"", " --moe-expert-capacity-factor 1.3"}) {
      String line =
          "--num-experts 5 --moe-router-topk 1 --moe-router-pre-softmax --add-expert-bias ";
      try (TestLayer layer = new TestLayer(random, 6, 7, line + LOSSES + capacity)) {
        onePreferred(layer.parameter(TestLayer.ROUTER), 3);
        Pass pass = TestLayer.training(2);
        BruteForce.check(
            layer, random, FP32, pass, x -> new Megatron(layer, absolute(x), pass), 2, 9, 6);
      }
    }
  }

  /** Of tokens without negative elements. */
  private static void onePreferred(Tensor router, int expert) {
    try (NoGradGuard guard = new NoGradGuard()) {
      router.zero_();
      router.select(0, expert).fill_(new Scalar(1));
    }
  }

  private static Tensor absolute(Tensor x) {
    try (NoGradGuard guard = new NoGradGuard()) {
      return x.abs_();
    }
  }

  @Test(dataProvider = "bf16Routers")
  public void bf16IsNear(int experts, int k, String flags) {
    String line =
        "--num-experts %d --moe-router-topk %d %s %s".formatted(experts, k, LOSSES, flags);
    try (TestLayer layer = new TestLayer(random, 40, 48, line, ScalarType.BFloat16)) {
      bias(layer);
      check(layer, BF16, 2, 48, 40);
    }
  }

  @DataProvider
  public Object[][] bf16Routers() {
    return new Object[][] {
      {6, 2, "--add-expert-bias"},
      {6, 2, "--moe-router-pre-softmax --swiglu"},
      {8, 2, "--moe-input-jitter-eps 0.2"},
      {8, 3, "--moe-router-score-function sigmoid --moe-router-enable-expert-bias"},
      {5, 2, "--moe-expert-capacity-factor 0.8 --moe-pad-expert-input-to-capacity"},
      {5, 2, "--moe-shared-expert-intermediate-size 24 --moe-shared-expert-gate"},
    };
  }
}
