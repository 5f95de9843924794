package moe4j.moe;

import java.util.List;
import moe4j.kernels.RowGather;
import org.bytedeco.pytorch.Tensor;

/**
 * Tokens on their way to this rank's experts. The rows are gathered for those who ask: a kernel may
 * gather while it multiplies.
 *
 * @param inputs the sources of the rows, [T, ...] each; the first is the hidden state, [T, h]
 * @param routing which rows, in which order, with what weights
 */
public record Dispatched(List<Tensor> inputs, Routing routing) {

  /** Copies the list. */
  public Dispatched {
    inputs = List.copyOf(inputs);
  }

  /** The experts' input, grouped by expert: [R, h]. */
  public Tensor rows() {
    return rows(0);
  }

  /** The same of an input of several: [R, ...]. */
  public Tensor rows(int input) {
    Tensor x = inputs.get(input);
    Tensor flat = x.dim() == 2 ? x : x.reshape(x.size(0), -1);
    Tensor rows = RowGather.spread(flat, routing.token(), routing.slot());
    long[] shape = x.shape();
    shape[0] = rows.size(0);
    return x.dim() == 2 ? rows : rows.view(shape);
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
