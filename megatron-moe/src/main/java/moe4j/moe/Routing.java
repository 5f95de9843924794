package moe4j.moe;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Which token goes to which expert: R routes, grouped by expert, within an expert in the tokens'
 * order. R is known beforehand (T k where tokens choose); routes behind the last offset are none.
 *
 * @param token int64 [R], the row of the hidden state that a route takes
 * @param weight [R], what the expert's output counts in the token's; carries the gate's gradient
 * @param offsets int32 [E], where each expert's routes end
 * @param slot int64 [T, k], where token t's j-th route stands among the R; what combines by
 *     gathering needs it
 */
public record Routing(Tensor token, Tensor weight, Tensor offsets, Tensor slot) {

  /**
   * Groups the routes of tokens that have each chosen k experts.
   *
   * @param expert int64 [T, k], each in [0, E)
   * @param weight [T, k]
   * @param experts E
   */
  public static Routing ofChoices(Tensor expert, Tensor weight, int experts) {
    long tokens = expert.size(0);
    long k = expert.size(1);
    Tensor flat = expert.flatten();
    Tensor order = torch.argsort(flat, true, 0, false);
    Tensor places = torch.empty_like(order);
    places.scatter_(0, order, torch.arange(new Scalar(tokens * k), order.options()));
    return new Routing(
        order.floor_divide(new Scalar(k)),
        weight.flatten().index_select(0, order),
        counts(flat, experts).cumsum(0).to(ScalarType.Int),
        places.view(tokens, k));
  }

  /** How often each expert is named: int64 [E]. */
  static Tensor counts(Tensor expert, int experts) {
    Tensor zeros = torch.zeros(new long[] {experts}, expert.options());
    return zeros.scatter_add(0, expert, torch.ones_like(expert));
  }

  /** Rows for each expert: int64 [E]. */
  public Tensor tokensPerExpert() {
    Tensor ends = offsets.to(ScalarType.Long);
    Tensor starts = ends.roll(1);
    starts.select(0, 0).zero_();
    return ends.sub(starts);
  }
}
