package moe4j.kernels;

import org.bytedeco.pytorch.Tensor;

/**
 * Rows of tokens out to their routes and back, as gathers in both directions: {@code token} [R]
 * names a route's token, {@code slot} [T, k] a token's routes, each the other's inverse. libtorch's
 * own gradient of a gather is a row-wise scatter, many times as slow on a CPU.
 */
public final class RowGather {
  private RowGather() {}

  /**
   * {@code y[r] = x[token[r]]}.
   *
   * @param x [T, h]
   * @return [R, h]
   */
  public static Tensor spread(Tensor x, Tensor token, Tensor slot) {
    return x.index_select(0, token);
  }

  /**
   * {@code y[t] = sum_j x[slot[t, j]]}.
   *
   * @param x [R, h]
   * @return [T, h]
   */
  public static Tensor gather(Tensor x, Tensor token, Tensor slot) {
    return x.index_select(0, slot.flatten()).view(slot.size(0), slot.size(1), x.size(1)).sum(1);
  }
}
