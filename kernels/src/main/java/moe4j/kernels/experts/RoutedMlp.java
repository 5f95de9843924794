package moe4j.kernels.experts;

import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.product.GradientSum;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Two-layer MLPs of groups from tokens to tokens: tokens' rows are spread once, and biases,
 * activation, dropout and weights belong to the products ({@link GroupedProducts}). The results'
 * rows are not kept for the backward: a weight's gradient is the product of the activations and
 * their gradient, as the second product is linear.
 *
 * <p>The gradient of a weight whose {@link GradientSum} is open in the forward is added to that sum
 * in the backward, and autograd gets none. It is autograd's as always where neither tokens nor
 * rows' weights ask for a gradient, as then no backward would come by.
 */
public final class RoutedMlp {
  /** Rows of a group in the mean, and channels, from which libtorch's products are faster. */
  private static final long LARGE_ROWS = 1024;

  private static final long LARGE_CHANNELS = 2048;

  private RoutedMlp() {}

  /**
   * Which token each row takes, and what it counts.
   *
   * @param token int64 [R], negative for a row that belongs to no token and whose result nobody
   *     takes; null where the tokens are the rows, in their order
   * @param slot int64 [T, k], the rows of each token, negative for none, of which no row is named
   *     twice; null where a token has any number of rows
   * @param offsets int32 [G], where each group's rows end; those after the last end may hold
   *     anything
   * @param weight [R], fp32, bf16 or fp64; its gradient is in that type
   */
  public record Routes(Tensor token, Tensor slot, Tensor offsets, Tensor weight) {
    /** R. */
    public long rows() {
      return weight.numel();
    }
  }

  /** Whether products of our own compute this: see {@link GroupedProducts#take}. */
  public static boolean take(Tensor x, ExpertMlp.Weights weights) {
    return GroupedProducts.take(x, weights);
  }

  /**
   * Whether products of our own are also faster than {@link GroupedMatmul}'s. Measured on an H200,
   * they are not where groups have so many rows and weights that nothing but multiplying counts.
   *
   * @param rows of all groups
   */
  public static boolean isFaster(long rows, ExpertMlp.Weights weights) {
    boolean large = Math.min(weights.fc1().size(2), weights.fc2().size(2)) >= LARGE_CHANNELS;
    return !large || rows < LARGE_ROWS * weights.fc1().size(0);
  }

  /**
   * {@code y[r] = weight[r] (drop(act(x[token[r]] fc1[g]^T + bias1[g])) fc2[g]^T + bias2[g])} for
   * the group g that row r is in.
   *
   * @param x [T, h], of the weights' type
   * @param drop the dropout of the activations, [R, f]
   * @return [R, h], of which rows after the last end hold anything
   */
  public static Tensor rows(
      Tensor x,
      Routes routes,
      ExpertMlp.Weights weights,
      ExpertMlp.Activation activation,
      Dropout drop) {
    return apply(x, routes, weights, activation, drop, false, null);
  }

  /**
   * The same rows, added up by token.
   *
   * @return [T, h]: the sum of the rows that take each token
   */
  public static Tensor sums(
      Tensor x,
      Routes routes,
      ExpertMlp.Weights weights,
      ExpertMlp.Activation activation,
      Dropout drop) {
    return sums(x, routes, weights, activation, drop, null);
  }

  /**
   * The same sums with something added, such as what an expert that all tokens go to makes of them.
   *
   * @param beside [T, h], of x's type, or null
   */
  public static Tensor sums(
      Tensor x,
      Routes routes,
      ExpertMlp.Weights weights,
      ExpertMlp.Activation activation,
      Dropout drop,
      Tensor beside) {
    if (routes.token == null) {
      Tensor rows = rows(x, routes, weights, activation, drop);
      return beside == null ? rows : rows.add(beside);
    }
    return apply(x, routes, weights, activation, drop, true, beside);
  }

  private static Tensor apply(
      Tensor x,
      Routes routes,
      ExpertMlp.Weights weights,
      ExpertMlp.Activation activation,
      Dropout drop,
      boolean summed,
      Tensor beside) {
    check(x, routes, weights);
    // Autograd has to come to the function by another input.
    boolean reached = x.requires_grad() || routes.weight.requires_grad();
    GradientSum sum1 = reached ? GradientSum.of(weights.fc1()) : null;
    GradientSum sum2 = reached ? GradientSum.of(weights.fc2()) : null;
    return new Routed(activation, drop, summed, sum1, sum2)
        .apply(
            x,
            routes.weight,
            sum1 == null ? weights.fc1() : weights.fc1().detach(),
            sum2 == null ? weights.fc2() : weights.fc2().detach(),
            weights.bias1(),
            weights.bias2(),
            routes.token,
            routes.slot,
            routes.offsets,
            beside)[0];
  }

  private static void check(Tensor x, Routes routes, ExpertMlp.Weights weights) {
    long groups = weights.fc1().size(0);
    boolean fits =
        x.dim() == 2
            && x.size(1) == weights.fc1().size(2)
            && x.size(1) == weights.fc2().size(1)
            && weights.fc2().size(0) == groups
            && Tensors.dtype(routes.offsets) == ScalarType.Int
            && routes.offsets.numel() == groups
            && (routes.token == null ? x.size(0) : routes.token.numel()) == routes.rows()
            && (routes.slot == null || routes.slot.size(0) == x.size(0));
    if (!fits) {
      throw new IllegalArgumentException(
          "The sizes of %d groups' weights %s and %s, of x %s, %d rows and %d ends in %s do not go together."
              .formatted(
                  groups,
                  Tensors.shape(weights.fc1()),
                  Tensors.shape(weights.fc2()),
                  Tensors.shape(x),
                  routes.rows(),
                  routes.offsets.numel(),
                  Tensors.dtype(routes.offsets)));
    }
  }

  private static final class Routed extends CustomFunction {
    private static final int X = 0;
    private static final int WEIGHT = 1;
    private static final int FC1 = 2;
    private static final int FC2 = 3;
    private static final int BIAS1 = 4;
    private static final int BIAS2 = 5;
    private static final int TOKEN = 6;
    private static final int SLOT = 7;
    private static final int OFFSETS = 8;
    private static final int BESIDE = 9;
    private static final int INPUTS = 10;

    private final ExpertMlp.Activation activation;
    private final Dropout drop;
    private final boolean summed;

    /** What a weight's gradient is added to, or null. */
    private final GradientSum sum1;

    private final GradientSum sum2;
    private GroupedProducts products;
    private ExpertMlp.Weights weights;
    private long tokens;
    private Tensor token;
    private Tensor slot;

    /** The tokens by row. */
    private Tensor x;

    /** What is kept of the first product, and what the second one multiplies. */
    private Tensor inner;

    private Tensor activated;

    Routed(
        ExpertMlp.Activation activation,
        Dropout drop,
        boolean summed,
        GradientSum sum1,
        GradientSum sum2) {
      this.activation = activation;
      this.drop = drop.isNone() ? Dropout.NONE : drop;
      this.summed = summed;
      this.sum1 = sum1;
      this.sum2 = sum2;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      tokens = inputs[X].size(0);
      token = kept(inputs[TOKEN]);
      slot = kept(inputs[SLOT]);
      x = save(spread(inputs[X].contiguous(), token, slot));
      weights =
          new ExpertMlp.Weights(
              kept(inputs[FC1]), kept(inputs[BIAS1]), kept(inputs[FC2]), kept(inputs[BIAS2]));
      GroupedProducts.Groups groups =
          new GroupedProducts.Groups(weights, kept(inputs[OFFSETS]), kept(inputs[WEIGHT]));
      products =
          GroupedProducts.of(groups, new GroupedProducts.Between(activation, drop), this::save);
      GroupedProducts.Up up = products.up(x);
      inner = save(up.kept());
      activated = save(up.activated());
      return new Tensor[] {sum(products.down(up.activated()), summed, inputs[BESIDE])};
    }

    private Tensor kept(Tensor t) {
      return t == null ? null : save(t.contiguous());
    }

    /** The rows of tokens; those that there are, where these are the tokens. */
    private static Tensor spread(Tensor x, Tensor token, Tensor slot) {
      return token == null ? x : RowGather.out(x, token, slot);
    }

    /**
     * The rows added up by token, and closed; the rows themselves where that is not asked for.
     *
     * @param beside what the sums are added to, or null
     */
    private Tensor sum(Tensor rows, boolean byToken, Tensor beside) {
      if (!byToken) {
        return rows;
      }
      Tensor sums = RowGather.back(rows, token, slot, tokens, beside);
      rows.close();
      return sums;
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor gradient = spread(gradients[0], summed ? token : null, slot);
      Tensor[] results = new Tensor[INPUTS];
      if (needsGradient(BESIDE)) {
        results[BESIDE] = new Tensor(gradients[0]);
      }
      // What is not needed any more is closed at once: of a large layer each of these is as much
      // memory as a result.
      results[FC2] = weightGradient(FC2, gradient, activated, weights.fc2(), sum2);
      activated.close();
      GroupedProducts.Down down =
          products.backward(
              gradient,
              inner,
              new GroupedProducts.Wanted(
                  needsGradient(WEIGHT), needsGradient(BIAS1), needsGradient(BIAS2)));
      inner.close();
      gradient.close();
      results[WEIGHT] = down.weight();
      results[BIAS1] = down.bias1();
      results[BIAS2] = down.bias2();
      results[FC1] = weightGradient(FC1, down.inner(), x, weights.fc1(), sum1);
      if (needsGradient(X)) {
        results[X] = sum(products.inputGradient(down.inner()), token != null, null);
      }
      return results;
    }

    /** A weight's gradient; null where nobody asks for it, or a sum has got it. */
    private Tensor weightGradient(
        int input, Tensor left, Tensor right, Tensor parameter, GradientSum sum) {
      if (sum != null) {
        if (sum.isTaking()) {
          products.addWeightGradient(left, right, sum);
        }
        return null;
      }
      return needsGradient(input) ? products.weightGradient(left, right, parameter) : null;
    }
  }
}
