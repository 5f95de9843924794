package moe4j.moe;

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
   * @param hidden [T, h]
   */
  Pending<Dispatched> dispatch(Tensor hidden, Routing routing);

  /**
   * Starts bringing the experts' outputs back and adding them up.
   *
   * @param rows [R, h], weighted
   * @return [T, h]
   */
  Pending<Tensor> combine(Tensor rows, Routing routing);

  /** All experts on this rank. */
  static TokenDispatcher local() {
    return new TokenDispatcher() {
      @Override
      public Pending<Dispatched> dispatch(Tensor hidden, Routing routing) {
        Dispatched dispatched = new Dispatched(hidden, routing);
        return () -> dispatched;
      }

      @Override
      public Pending<Tensor> combine(Tensor rows, Routing routing) {
        Tensor combined = RowGather.gather(rows, routing.token(), routing.slot());
        return () -> combined;
      }
    };
  }
}
