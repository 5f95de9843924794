package moe4j.moe;

import moe4j.kernels.RouteSort;
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
    RouteSort sorted = RouteSort.of(expert, experts);
    return new Routing(
        sorted.token(),
        weight.flatten().index_select(0, sorted.order()),
        sorted.offsets(),
        sorted.slot());
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
