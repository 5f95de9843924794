package moe4j.kernels.experts;

import java.util.Arrays;
import java.util.Comparator;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A router's routes against sorts in Java, exactly, and its weights, losses and gradients against
 * fp64. Logits are multiples of 1/64, so that equal ones are met and all others are told apart.
 */
public final class TokenRouterCheck implements KernelCheck {
  private static final double BOUND = 1e-5;

  /** Logits are so many parts at most, of which this many are 1: they are exact in bf16. */
  private static final double PARTS = 64;

  private static final double MOST_PARTS = 253;

  @Override
  public String name() {
    return "token router";
  }

  @Override
  public void run(Comparison on) {
    for (RouterScore score : RouterScore.values()) {
      for (int[] shape :
          new int[][] {
            {1, 1, 1},
            {1, 96, 2},
            {517, 96, 2},
            {3000, 33, 1},
            {301, 128, 7},
            {70, 512, 32},
            {45, 257, 8}
          }) {
        for (boolean biased : new boolean[] {false, true}) {
          Scopes.run(() -> new Case(on, score, shape, biased, false).check());
        }
      }
      for (int[] shape : new int[][] {{1, 96, 2}, {517, 96, 2}, {3000, 33, 1}, {301, 128, 7}}) {
        Scopes.run(() -> new Case(on, score, shape, score.isSeparate(), true).check());
      }
      for (Type type : Type.values()) {
        Scopes.run(() -> new Case(on, score, new int[] {40, 96, 2}, false, true).project(type));
        Scopes.run(() -> new Case(on, score, new int[] {72, 33, 1}, true, false).project(type));
      }
      Scopes.run(() -> RouterEdges.none(on, score));
      Scopes.run(() -> RouterEdges.infinite(on, score));
    }
  }

  /** Logits and what a router that is right makes of them. */
  private static final class Case {
    private final Comparison on;
    private final RouterScore score;
    private final int tokens;
    private final int experts;
    private final int k;
    private final double scaling;
    private final String what;
    private final float[] logits;
    private final float[] bias;

    /** The tokens that are padding, all where there is one; or null. */
    private final boolean[] padding;

    /** The numbers of those that are not. */
    private final long[] real;

    /** Of each token the chosen experts, -1 for padding. */
    private final long[] chosen;

    /** The choices in their experts' order. */
    private final long[] order;

    Case(Comparison on, RouterScore score, int[] shape, boolean biased, boolean padded) {
      this.on = on;
      this.score = score;
      this.tokens = shape[0];
      this.experts = shape[1];
      this.k = shape[2];
      this.scaling = biased ? 2.5 : 1;
      this.what =
          "router by %s T=%d E=%d k=%d%s: "
              .formatted(
                  score, tokens, experts, k, (biased ? " biased" : "") + (padded ? " padded" : ""));
      Random random = new Random(on.seed() + Arrays.hashCode(shape));
      this.logits = new float[tokens * experts];
      for (int i = 0; i < logits.length; i++) {
        double parts = Math.rint(random.nextGaussian() * PARTS);
        logits[i] = (float) (Math.max(-MOST_PARTS, Math.min(MOST_PARTS, parts)) / PARTS);
      }
      this.bias = biased ? new float[experts] : null;
      for (int e = 0; biased && e < experts; e++) {
        // More than any two scores that are not logits differ by.
        bias[e] = 4 * random.nextInt(3);
      }
      this.padding = padded ? new boolean[tokens] : null;
      for (int t = 0; padded && t < tokens; t++) {
        padding[t] = tokens == 1 || random.nextInt(3) == 0;
      }
      this.real =
          IntStream.range(0, tokens).filter(t -> !padded || !padding[t]).asLongStream().toArray();
      this.chosen = new long[tokens * k];
      Arrays.fill(chosen, -1);
      for (long t : real) {
        choose((int) t);
      }
      this.order =
          IntStream.range(0, chosen.length)
              .filter(i -> chosen[i] >= 0)
              .boxed()
              .sorted(Comparator.comparing(i -> chosen[i]))
              .mapToLong(i -> i)
              .toArray();
    }

    private void choose(int token) {
      // Scores grow with logits. Where they are others, a bias comes before them.
      double weight = score == RouterScore.LOGITS ? 1 : 1000;
      Comparator<Integer> largest =
          Comparator.comparing(
              e -> -(logits[token * experts + e] + (bias == null ? 0 : weight * bias[e])));
      int[] sorted = IntStream.range(0, experts).boxed().sorted(largest).mapToInt(e -> e).toArray();
      for (int j = 0; j < k; j++) {
        chosen[token * k + j] = sorted[j];
      }
    }

    void check() {
      Tensor upstream = on.normal(ScalarType.Float, chosen.length);
      for (int asked = 0; asked < 4; asked++) {
        boolean figures = asked % 2 == 1;
        boolean z = asked / 2 == 1;
        TokenRouter.Form form = new TokenRouter.Form(score, k, scaling, figures, z);
        Scopes.run(() -> check(form, upstream));
      }
      // Each loss alone, and no weights, as where an expert's output counts nothing.
      TokenRouter.Form all = new TokenRouter.Form(score, k, scaling, true, true);
      if (experts > 1 && real.length > 0) {
        // Of one expert it is 0, from which a rounding is infinitely far.
        gradient(all, "balance loss's", null, 1, 0);
      }
      gradient(all, "z-loss's", null, 0, 1);
    }

    private void check(TokenRouter.Form form, Tensor upstream) {
      Tensor[] found = gradient(form, "", upstream, 1.7, -0.3);
      if (form.hasFigures() && form.hasZ()) {
        exact(found);
      }
    }

    /**
     * Compares weights, losses and the logits' gradient for gradients of these.
     *
     * @return what {@link #results} does
     */
    private Tensor[] gradient(
        TokenRouter.Form form, String of, Tensor dweight, double dbalance, double dz) {
      Tensor given = Tensors.of(logits, tokens, experts);
      Leaves ours = Leaves.on(on, ScalarType.Float, given);
      Leaves exact = Leaves.reference(given.to(ScalarType.Double));
      Tensor[] upstream = {
        dweight,
        form.hasFigures() && dbalance != 0 ? number(dbalance) : null,
        form.hasZ() && dz != 0 ? number(dz) : null
      };
      Tensor[] found =
          ours.backward(
              upstream,
              t -> {
                poison();
                return results(TokenRouter.of(t[0], form, beside()));
              });
      Tensor[] expected = exact.backward(upstream, t -> expected(t[0], form));
      String name = what + (form.hasFigures() ? "F" : "") + (form.hasZ() ? "Z" : "");
      String[] names = {" weights", " balance loss", " z-loss", " entropy"};
      for (int i = 0; of.isEmpty() && i < names.length; i++) {
        on.holds(name + names[i] + " as asked", (found[i] == null) == (expected[i] == null));
        if (found[i] != null && expected[i] != null) {
          on.close(name + names[i], found[i], expected[i], BOUND);
        }
      }
      on.close(name + " " + of + " gradient", ours.gradient(0), exact.gradient(0), BOUND);
      return found;
    }

    /** Tokens are the unit vectors, which have another use beside the router. */
    void project(Type type) {
      ScalarType dtype = type.dtype();
      TokenRouter.Form form = new TokenRouter.Form(score, k, scaling, true, true);
      Tensor offset =
          torch.arange(new Scalar(experts)).remainder(new Scalar(3)).to(ScalarType.Double);
      offset = offset.div(new Scalar(PARTS));
      Tensor given = Tensors.of(logits, tokens, experts).to(ScalarType.Double);
      Tensor weight = given.sub(offset).t().contiguous();
      Tensor x = torch.eye(tokens).to(ScalarType.Double);
      Tensor factors = on.normal(dtype, tokens, tokens);
      Tensor ourFactors = factors.to(on.device(), dtype);
      Tensor[] upstream = {
        on.normal(ScalarType.Float, chosen.length),
        number(1.7),
        number(-0.3),
        on.normal(dtype, tokens, tokens)
      };
      for (boolean isBeside : new boolean[] {true, false}) {
        Tensor[] gradients = upstream.clone();
        gradients[3] = isBeside ? upstream[3] : null;
        Leaves ours = Leaves.on(on, dtype, x, weight, offset);
        Leaves exact = Leaves.reference(x, weight, offset);
        Tensor[] found =
            ours.backward(
                gradients,
                t -> {
                  poison();
                  TokenRouter made = TokenRouter.project(t[0], t[1], t[2], form, beside());
                  Tensor source = made.source() == null ? t[0] : made.source().of(t[0]);
                  return new Tensor[] {
                    made.weight(),
                    made.losses().balance(),
                    made.losses().z(),
                    source.mul(ourFactors)
                  };
                });
        Tensor[] expected =
            exact.backward(
                gradients,
                t -> {
                  Tensor[] results = expected(t[0].mm(t[1].t()).add(t[2]), form);
                  results[3] = t[0].mul(factors);
                  return results;
                });
        String name = what + type + (isBeside ? " and beside" : " alone");
        for (int i = 0; i < found.length; i++) {
          on.close(name + ": result " + i, found[i], expected[i], BOUND);
        }
        ours.compare(on, exact, name, type.bound(), "x", "weight", "bias");
      }
    }

    private TokenRouter.Beside beside() {
      Tensor biases = bias == null ? null : Tensors.of(bias).to(on.device(), ScalarType.Float);
      if (padding == null) {
        return new TokenRouter.Beside(biases, null);
      }
      long[] flags = IntStream.range(0, tokens).mapToLong(t -> padding[t] ? 1 : 0).toArray();
      return new TokenRouter.Beside(
          biases, Tensors.of(flags).ne(new Scalar(0)).to(on.device(), ScalarType.Bool));
    }

    /** Memory that held no numbers is the next to be handed out. */
    private void poison() {
      Scopes.run(
          () -> {
            for (int i = 0; i < 3; i++) {
              Tensors.full(Double.NaN, ScalarType.Float, on.device(), chosen.length);
              Tensors.full(-7, ScalarType.Long, on.device(), chosen.length);
              Tensors.full(-1, ScalarType.Long, on.device(), experts);
              Tensors.full(Double.NaN, ScalarType.Float, on.device(), tokens, experts);
              Tensors.full(Double.NaN, ScalarType.Float, on.device());
            }
          });
    }

    private static Tensor number(double value) {
      return Tensors.of(new float[] {(float) value}).sum();
    }

    private Tensor[] expected(Tensor all, TokenRouter.Form form) {
      Tensor x = all.index_select(0, Tensors.of(real));
      double n = Math.max(1, real.length);
      Tensor p = x.softmax(1);
      Tensor scores =
          switch (score) {
            case LOGITS -> x;
            case SOFTMAX -> p;
            case SIGMOID -> x.sigmoid();
            case SQRTSOFTPLUS -> x.exp().log1p().sqrt();
          };
      long[] choices = LongStream.of(chosen).filter(e -> e >= 0).toArray();
      Tensor own = scores.gather(1, Tensors.of(choices, real.length, k));
      Tensor weights = own;
      if (score == RouterScore.LOGITS) {
        weights = own.softmax(1);
      } else if (score.isSeparate()) {
        p = scores.div(scores.sum(1).unsqueeze(1));
        weights = k == 1 ? own : own.div(own.sum(1).unsqueeze(1));
      }
      // Among the choices of real tokens alone.
      long[] place = new long[tokens];
      for (int i = 0; i < real.length; i++) {
        place[(int) real[i]] = i;
      }
      long[] sources = LongStream.of(order).map(i -> place[(int) (i / k)] * k + i % k).toArray();
      Tensor sorted =
          weights.mul(new Scalar(scaling)).flatten().index_select(0, Tensors.of(sources));
      Tensor unused = torch.zeros(new long[] {chosen.length - order.length}, sorted.options());
      sorted = torch.cat(new TensorVector(sorted, unused), 0);
      Tensor balance = null;
      Tensor entropy = null;
      if (form.hasFigures()) {
        Tensor load = Tensors.of(counts()).to(ScalarType.Double);
        double factor = experts / (k * n * n);
        balance = p.sum(0).mul(load).sum().mul(new Scalar(factor));
        entropy = p.detach().mul(p.detach().log()).sum().mul(new Scalar(-1 / n));
      }
      Tensor z = form.hasZ() ? x.logsumexp(1).square().sum().mul(new Scalar(1 / n)) : null;
      return new Tensor[] {sorted, balance, z, entropy};
    }

    private long[] counts() {
      long[] counts = new long[experts];
      for (long i : order) {
        counts[(int) chosen[(int) i]]++;
      }
      return counts;
    }

    /** Whole numbers are as they must be. */
    private void exact(Tensor[] found) {
      long[] token = new long[chosen.length];
      long[] slot = new long[chosen.length];
      Arrays.fill(token, -1);
      Arrays.fill(slot, -1);
      for (int r = 0; r < order.length; r++) {
        token[r] = order[r] / k;
        slot[(int) order[r]] = r;
      }
      on.same(what + "tokens", found[4], Tensors.of(token));
      on.same(what + "slots", found[5], Tensors.of(slot, tokens, k));
      on.same(what + "counts", found[6], Tensors.of(counts()));
      Tensor ends = Tensors.of(counts()).cumsum(0);
      on.same(what + "offsets", found[7].to(ScalarType.Long), ends);
      on.holds(what + "offsets are int32", Tensors.dtype(found[7]) == ScalarType.Int);
    }
  }

  /** Weights, balance loss, z-loss, entropy, tokens, slots, counts and offsets. */
  static Tensor[] results(TokenRouter made) {
    TokenRouter.Losses losses =
        made.losses() == null ? new TokenRouter.Losses(null, null, null) : made.losses();
    return new Tensor[] {
      made.weight(),
      losses.balance(),
      losses.z(),
      losses.entropy(),
      made.token(),
      made.slot(),
      made.counts(),
      made.offsets()
    };
  }
}
