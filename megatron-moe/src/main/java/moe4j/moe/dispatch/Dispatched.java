package moe4j.moe.dispatch;

import java.util.List;
import moe4j.kernels.experts.RowGather;
import moe4j.moe.gate.Routing;
import org.bytedeco.pytorch.Tensor;

/**
 * Tokens on their way to this rank's experts. {@link #rows} gathers their rows for experts that ask
 * for them, and {@link #sum} adds up what comes out; a kernel may instead gather while it
 * multiplies.
 *
 * @param inputs the sources of the rows, [T, ...] each; the first is the hidden state, [T, h]
 * @param routing which rows, in which order, with what weights
 * @param part the number of this part: rows may come to a rank in several parts
 * @param parts how many parts there are
 */
public record Dispatched(List<Tensor> inputs, Routing routing, int part, int parts) {

  /** Copies the list. */
  public Dispatched {
    inputs = List.copyOf(inputs);
  }

  /** Tokens that come all at once. */
  public Dispatched(List<Tensor> inputs, Routing routing) {
    this(inputs, routing, 0, 1);
  }

  /** The experts' input, grouped by expert: [R, h]. */
  public Tensor rows() {
    return rows(0);
  }

  /** The rows of one of several inputs, grouped by expert: [R, ...]. */
  public Tensor rows(int input) {
    return spread(inputs.get(input), routing.token(), routing.slot());
  }

  /**
   * Adds the rows' outputs up by token.
   *
   * @param rows [R, ...], weighted
   * @return [T, ...], T being the tokens that these rows come from
   */
  public Tensor sum(Tensor rows) {
    return gather(rows, routing);
  }

  /** {@link RowGather#spread} of rows of any shape. */
  static Tensor spread(Tensor x, Tensor token, Tensor slot) {
    if (x.dim() == 2) {
      return RowGather.spread(x, token, slot);
    }
    long[] shape = x.shape();
    shape[0] = token.size(0);
    return RowGather.spread(flat(x), token, slot).view(shape);
  }

  /** {@link RowGather#gather} or, without slots, {@link RowGather#gatherAny} of any rows. */
  static Tensor gather(Tensor rows, Routing routing) {
    Tensor flat = flat(rows);
    Tensor sums =
        routing.slot() == null
            ? RowGather.gatherAny(flat, routing.token(), routing.tokens())
            : RowGather.gather(flat, routing.token(), routing.slot());
    long[] shape = rows.shape();
    shape[0] = routing.tokens();
    return rows.dim() == 2 ? sums : sums.view(shape);
  }

  private static Tensor flat(Tensor x) {
    return x.dim() == 1 ? x.view(-1, 1) : x.dim() == 2 ? x : x.flatten(1, -1);
  }

  /** Where each expert's rows end: int32 [E]. */
  public Tensor offsets() {
    return routing.offsets();
  }

  /**
   * Refuses rows for another number of experts than there are: of fewer, some would never have any,
   * and of more, a kernel would read what lies after the last one's weights.
   *
   * @param experts of this rank
   */
  public void checkExperts(long experts) {
    if (routing.offsets().numel() != experts) {
      throw new IllegalArgumentException(
          "the gate routes to %d experts, but the layer has %d"
              .formatted(routing.offsets().numel(), experts));
    }
  }

  /** The weight of each row's output in its token's output: [R]. */
  public Tensor weight() {
    return routing.weight();
  }
}
