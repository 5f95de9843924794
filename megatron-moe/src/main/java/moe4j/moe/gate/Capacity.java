package moe4j.moe.gate;

import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How many rows an expert takes at most, and which choices are dropped beyond: a dropped choice
 * adds nothing to its token, and the weights of the others stay as they are.
 *
 * @param factor the rows, over the mean of all experts' choices
 * @param policy which choices are kept; of equal ones the lowest token's
 * @param padded whether every expert gets exactly so many rows, so that the host knows their sizes
 */
public record Capacity(double factor, Policy policy, boolean padded) {

  /** Which choices an expert keeps. */
  public enum Policy {
    /** Those of the largest weights. */
    PROBS,
    /** Those of the first tokens. */
    POSITION
  }

  /** Refuses what is no factor. */
  public Capacity {
    if (!(factor > 0)) {
      throw new IllegalArgumentException("a capacity factor of %s".formatted(factor));
    }
  }

  /** {@code ceil(((T k) / E) factor)}, in Megatron's order of rounding; at most T. */
  public long rows(long tokens, int topk, int experts) {
    double each = (double) (tokens * topk) / experts;
    return Math.min(tokens, (long) Math.ceil(each * factor));
  }

  /** The same of real tokens alone, which only the device can count: int64, a scalar. */
  Tensor rows(RealTokens real, int topk, int experts) {
    Tensor each = real.share(topk, experts).mul(new Scalar(factor)).ceil();
    return torch.minimum(each, real.count()).to(ScalarType.Long);
  }

  /**
   * Routes what the capacity leaves, which is counted by the real tokens.
   *
   * @param expert int64 [T, k], -1 for padding or where a choice was dropped before; a token names
   *     an expert once
   * @param weight [T, k]
   */
  public Routing route(Tensor expert, Tensor weight, int experts, RealTokens real) {
    if (real.all()) {
      return route(expert, weight, experts);
    }
    int topk = Math.toIntExact(expert.size(1));
    Tensor rows = rows(real, topk, experts);
    Tensor kept =
        policy == Policy.POSITION
            ? first(expert, experts, rows)
            : best(expert, weight, chosen -> first(chosen, experts, rows));
    return padded
        ? Routing.padded(kept, weight, experts, rows(real.rows(), topk, experts))
        : Routing.ofChoices(kept, weight, experts);
  }

  /**
   * Routes what the capacity leaves.
   *
   * @param expert int64 [T, k], -1 where a choice was dropped before; a token names an expert once
   * @param weight [T, k]
   */
  public Routing route(Tensor expert, Tensor weight, int experts) {
    long rows = rows(expert.size(0), Math.toIntExact(expert.size(1)), experts);
    return route(expert, weight, experts, rows, policy, padded);
  }

  /**
   * Routes what a number of rows leaves.
   *
   * @param rows of each expert, at most
   */
  public static Routing route(
      Tensor expert, Tensor weight, int experts, long rows, Policy policy, boolean padded) {
    boolean byPosition = policy == Policy.POSITION;
    if (byPosition && padded) {
      return Routing.padded(expert, weight, experts, rows);
    }
    Tensor kept = byPosition ? first(expert, experts, rows) : best(expert, weight, experts, rows);
    return padded
        ? Routing.padded(kept, weight, experts, rows)
        : Routing.ofChoices(kept, weight, experts);
  }

  /**
   * Drops all but each expert's first choices.
   *
   * @return expert, -1 where dropped
   */
  public static Tensor first(Tensor expert, int experts, long rows) {
    Tensor rank = Routing.rank(expert, experts);
    return expert.masked_fill(rank.ge(new Scalar(rows)), new Scalar(-1));
  }

  /**
   * The same where only the device knows how many.
   *
   * @param rows int64, a scalar
   */
  static Tensor first(Tensor expert, int experts, Tensor rows) {
    return expert.masked_fill(Routing.rank(expert, experts).ge(rows), new Scalar(-1));
  }

  /**
   * Drops all but each expert's choices of the largest weights.
   *
   * @return expert, -1 where dropped
   */
  public static Tensor best(Tensor expert, Tensor weight, int experts, long rows) {
    return best(expert, weight, chosen -> first(chosen, experts, rows));
  }

  private static Tensor best(Tensor expert, Tensor weight, UnaryOperator<Tensor> firsts) {
    Tensor order = torch.argsort(weight.detach().flatten(), true, 0, true);
    Tensor ordered = expert.flatten().index_select(0, order).unsqueeze(1);
    Tensor kept = firsts.apply(ordered).squeeze(1);
    return torch.empty_like(expert).view(-1).scatter_(0, order, kept).view(expert.shape());
  }
}
