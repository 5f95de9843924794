package moe4j.moe;

import moe4j.kernels.RowGather;
import org.bytedeco.pytorch.Tensor;

/**
 * Tokens on their way to this rank's experts. The rows are gathered for those who ask: a kernel may
 * gather while it multiplies.
 *
 * @param hidden [T, h], the source of the rows
 * @param routing which rows, in which order, with what weights
 */
public record Dispatched(Tensor hidden, Routing routing) {

  /** The experts' input, grouped by expert: [R, h]. */
  public Tensor rows() {
    return RowGather.spread(hidden, routing.token(), routing.slot());
  }

  /** Where each expert's rows end: int32 [E]. */
  public Tensor offsets() {
    return routing.offsets();
  }

  /** What each row counts in its token's output: [R]. */
  public Tensor weight() {
    return routing.weight();
  }
}
