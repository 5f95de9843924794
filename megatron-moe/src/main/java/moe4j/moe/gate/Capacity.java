package moe4j.moe.gate;

import java.util.function.UnaryOperator;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How many rows an expert takes at most, and which choices are kept where there are more. A dropped
 * choice adds nothing to its token, and the weights of the token's other choices stay as they are.
 *
 * @param factor the rows divided by the mean number of choices of an expert, T k / E
 * @param policy which choices are kept; of equally good ones the lowest token's
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

  /** Refuses a factor that is not positive. */
  public Capacity {
    if (!(factor > 0)) {
      throw new IllegalArgumentException(
          "a capacity factor of %s is not positive".formatted(factor));
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
   * Routes the choices that the capacity leaves. The capacity is counted by the real tokens.
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
   * Routes the choices that the capacity leaves.
   *
   * @param expert int64 [T, k], -1 where a choice was dropped before; a token names an expert once
   * @param weight [T, k]
   */
  public Routing route(Tensor expert, Tensor weight, int experts) {
    long rows = rows(expert.size(0), Math.toIntExact(expert.size(1)), experts);
    return route(expert, weight, experts, rows, policy, padded);
  }

  /**
   * Routes the choices that a number of rows leaves.
   *
   * @param expert int64 [T, k], -1 where a choice was dropped before; a token names an expert once
   * @param weight [T, k]
   * @param experts E
   * @param rows how many rows each expert takes at most
   * @param policy which choices are kept
   * @param padded whether every expert gets exactly so many rows
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
   * Drops all but the choices of each expert's first tokens.
   *
   * @param expert int64 [T, k], each in [0, E), or -1
   * @param rows how many choices of each expert are kept
   * @return int64 [T, k], -1 where the choice was dropped
   */
  public static Tensor first(Tensor expert, int experts, long rows) {
    Tensor rank = Routing.rank(expert, experts);
    return expert.masked_fill(rank.ge(new Scalar(rows)), new Scalar(-1));
  }

  /**
   * The same where only the device knows how many are kept.
   *
   * @param rows int64, a scalar
   */
  static Tensor first(Tensor expert, int experts, Tensor rows) {
    return expert.masked_fill(Routing.rank(expert, experts).ge(rows), new Scalar(-1));
  }

  /**
   * Drops all but each expert's choices of the largest weights.
   *
   * @param expert int64 [T, k], each in [0, E), or -1
   * @param weight [T, k]
   * @param rows how many choices of each expert are kept
   * @return int64 [T, k], -1 where the choice was dropped
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
