package moe4j.kernels;

import org.bytedeco.pytorch.Tensor;

/**
 * Rows of tokens out to their routes and back, as gathers in both directions: {@code token} [R]
 * names a route's token, {@code slot} [T, k] a token's routes, each the other's inverse. libtorch's
 * own gradient of a gather adds row by row, many times as slow on a CPU and in no fixed order on a
 * GPU.
 */
public final class RowGather {
  private RowGather() {}

  /**
   * {@code y[r] = x[token[r]]}.
   *
   * @param x [T, h]
   * @param token int64 [R]
   * @param slot int64 [T, k], R = T k
   * @return [R, h]
   */
  public static Tensor spread(Tensor x, Tensor token, Tensor slot) {
    return new Spread().apply(x, token, slot)[0];
  }

  /**
   * {@code y[t] = sum_j x[slot[t, j]]}.
   *
   * @param x [R, h]
   * @param token int64 [R]
   * @param slot int64 [T, k], R = T k
   * @return [T, h]
   */
  public static Tensor gather(Tensor x, Tensor token, Tensor slot) {
    return new Gather().apply(x, token, slot)[0];
  }

  private static Tensor out(Tensor x, Tensor token) {
    return x.index_select(0, token);
  }

  private static Tensor back(Tensor x, Tensor slot) {
    return x.index_select(0, slot.flatten()).view(slot.size(0), slot.size(1), x.size(1)).sum(1);
  }

  private static final class Spread extends CustomFunction {
    private Tensor slot;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      slot = save(inputs[2]);
      return new Tensor[] {out(inputs[0], inputs[1])};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {back(gradients[0], slot), null, null};
    }
  }

  private static final class Gather extends CustomFunction {
    private Tensor token;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      token = save(inputs[1]);
      return new Tensor[] {back(inputs[0], inputs[2])};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {out(gradients[0], token), null, null};
    }
  }
}
