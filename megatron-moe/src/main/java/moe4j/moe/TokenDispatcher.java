package moe4j.moe;

import java.util.List;
import moe4j.kernels.RowGather;
import org.bytedeco.pytorch.Tensor;

/**
 * Brings tokens to the experts and their outputs back. Each way has a start and a finish, so that
 * other work fits between: on one rank nothing moves and the start does all.
 */
public interface TokenDispatcher {

  /** Something under way. */
  @FunctionalInterface
  interface Pending<T> {
    /** Waits for it. */
    T finish();
  }

  /**
   * Starts bringing tokens to the experts.
   *
   * @param inputs [T, ...] each, the hidden state, [T, h], before others
   */
  Pending<Dispatched> dispatch(List<Tensor> inputs, Routing routing);

  /**
   * Starts bringing the experts' outputs back and adding them up.
   *
   * @param rows [R, d], weighted
   * @return [T, d]
   */
  Pending<Tensor> combine(Tensor rows, Routing routing);

  /** All experts on this rank. */
  static TokenDispatcher local() {
    return new TokenDispatcher() {
      @Override
      public Pending<Dispatched> dispatch(List<Tensor> inputs, Routing routing) {
        Dispatched dispatched = new Dispatched(inputs, routing);
        return () -> dispatched;
      }

      @Override
      public Pending<Tensor> combine(Tensor rows, Routing routing) {
        Tensor combined =
            routing.slot() == null
                ? RowGather.gatherAny(rows, routing.token(), routing.tokens())
                : RowGather.gather(rows, routing.token(), routing.slot());
        return () -> combined;
      }
    };
  }
}
