package moe4j.kernels.experts;

import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Copies the rows of tokens to their routes, and adds up the rows of routes by token. Both are
 * gathers, forward and backward: {@code token} [R] names a route's token, {@code slot} [T, k] a
 * token's routes, and each is the other's inverse. libtorch's own gradient of a gather adds row by
 * row, which is many times as slow on a CPU and has no fixed order on a GPU. A route that was
 * dropped has the slot -1, and a row that belongs to no route has the token -1.
 *
 * <p>Where experts choose tokens, a token has any number of routes and there are no slots: rows are
 * then added up one by one, in fp32.
 */
public final class RowGather {
  /** The most routes of a token that the kernel's threads hold. */
  private static final long MOST_SLOTS = 32;

  private static final Scalar ZERO = Scopes.keep(() -> new Scalar(0));

  private RowGather() {}

  /**
   * {@code y[r] = x[token[r]]}, in x's type.
   *
   * @param x [T, h]
   * @param token int64 [R]; a negative one gives a row of zeros
   * @param slot int64 [T, k], the rows that take each token, each named once; a negative one stands
   *     for no row; null where a token has any number of routes
   * @return [R, h]
   */
  public static Tensor spread(Tensor x, Tensor token, Tensor slot) {
    return (slot == null ? new SpreadAny() : new Spread()).apply(x, token, slot)[0];
  }

  /**
   * {@code y[t] = sum_j x[slot[t, j]]}.
   *
   * @param x [R, h]
   * @param token int64 [R]; where it is negative, no slot may name the row
   * @param slot int64 [T, k]; a negative one adds nothing
   * @return [T, h], summed in fp32 on a GPU
   */
  public static Tensor gather(Tensor x, Tensor token, Tensor slot) {
    return new Gather().apply(x, token, slot)[0];
  }

  /**
   * {@code y[t] = sum x[r]} over the rows with token[r] = t.
   *
   * @param x [R, h]
   * @param token int64 [R]; a row whose token is negative belongs to no token
   * @param tokens T
   * @return [T, h], summed in fp32, of fp64 in fp64
   */
  public static Tensor gatherAny(Tensor x, Tensor token, long tokens) {
    return new GatherAny(tokens).apply(x, token)[0];
  }

  /** {@link #spread} without a gradient. */
  static Tensor out(Tensor x, Tensor token) {
    if (Kernels.take(x) && x.is_floating_point()) {
      return spread(x, token);
    }
    Tensor rows = x.index_select(0, token.clamp_min(ZERO));
    return rows.masked_fill_(token.lt(ZERO).unsqueeze(1), ZERO);
  }

  /**
   * {@link #spread} without a gradient.
   *
   * @param slot as there, or null
   */
  static Tensor out(Tensor x, Tensor token, Tensor slot) {
    if (slot == null || !takesSlots(x, slot)) {
      return out(x, token);
    }
    long tokens = slot.size(0);
    long rows = token.size(0);
    long k = slot.size(1);
    Launch.require(token, "tokens", ScalarType.Long, rows);
    Launch.require(slot, "slots", ScalarType.Long, tokens * k);
    Launch.require(x, "tokens' rows", Tensors.dtype(x), tokens * x.size(1));
    Tensor y = Tensors.emptyRows(x, rows);
    Launch.kernel("experts/rows.cu", "spread_slots", Tensors.dtype(x), "K=" + k)
        .launch(
            Launch.rowBlocks(Math.max(tokens, rows)),
            Launch.ROW_THREADS,
            0,
            x.contiguous(),
            token.contiguous(),
            slot.contiguous(),
            y,
            tokens,
            rows,
            Math.toIntExact(x.size(1)));
    return y;
  }

  /**
   * {@link #gather} or, where there are no slots, {@link #gatherAny}, without a gradient.
   *
   * @param beside [T, h] in x's type, which the sums are added to, or null
   */
  static Tensor back(Tensor x, Tensor token, Tensor slot, long tokens, Tensor beside) {
    if (x.size(0) > 0 && slot != null && takesSlots(x, slot)) {
      return added(x, slot, beside);
    }
    Tensor sums =
        x.size(0) == 0
            ? Tensors.zeros(Tensors.dtype(x), x.device(), tokens, x.size(1))
            : slot == null ? sums(x, token, tokens) : back(x, slot);
    return beside == null ? sums : sums.add(beside);
  }

  private static boolean takesSlots(Tensor x, Tensor slot) {
    return Kernels.take(x) && x.is_floating_point() && slot.size(1) <= MOST_SLOTS;
  }

  private static Tensor back(Tensor x, Tensor slot) {
    long tokens = slot.size(0);
    long k = slot.size(1);
    if (takesSlots(x, slot)) {
      return added(x, slot, null);
    }
    return out(x, slot.flatten()).view(tokens, k, x.size(1)).sum(1);
  }

  private static Tensor sums(Tensor x, Tensor token, long tokens) {
    ScalarType type = Tensors.dtype(x) == ScalarType.Double ? ScalarType.Double : ScalarType.Float;
    Tensor rows = x.masked_fill(token.lt(ZERO).unsqueeze(1), ZERO).to(type);
    Tensor sums = Tensors.zeros(type, x.device(), tokens, x.size(1));
    return sums.index_add_(0, token.clamp_min(ZERO), rows).to(Tensors.dtype(x));
  }

  private static Tensor spread(Tensor x, Tensor token) {
    long rows = token.size(0);
    Launch.require(token, "tokens", ScalarType.Long, rows);
    Tensor y = Tensors.emptyRows(x, rows);
    Launch.kernel("experts/rows.cu", "spread", Tensors.dtype(x), "K=1")
        .launch(
            Launch.rowBlocks(rows),
            Launch.ROW_THREADS,
            0,
            x.contiguous(),
            token.contiguous(),
            y,
            rows,
            Math.toIntExact(x.size(1)));
    return y;
  }

  private static Tensor added(Tensor x, Tensor slot, Tensor beside) {
    long rows = slot.size(0);
    long k = slot.size(1);
    Launch.require(slot, "slots", ScalarType.Long, rows * k);
    if (beside != null) {
      Launch.require(beside, "what sums are added to", Tensors.dtype(x), rows * x.size(1));
    }
    Tensor y = Tensors.emptyRows(x, rows);
    Launch.kernel("experts/rows.cu", "gather", Tensors.dtype(x), "K=" + k)
        .launch(
            Launch.rowBlocks(rows),
            Launch.ROW_THREADS,
            0,
            x.contiguous(),
            slot.contiguous(),
            Launch.contiguous(beside),
            y,
            rows,
            Math.toIntExact(x.size(1)));
    return y;
  }

  private static final class Spread extends CustomFunction {
    private Tensor slot;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      slot = save(inputs[2]);
      return new Tensor[] {out(inputs[0], inputs[1], inputs[2])};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {back(gradients[0], slot), null, null};
    }
  }

  private static final class SpreadAny extends CustomFunction {
    private Tensor token;
    private long tokens;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      token = save(inputs[1]);
      tokens = inputs[0].size(0);
      return new Tensor[] {out(inputs[0], inputs[1])};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {sums(gradients[0], token, tokens), null, null};
    }
  }

  private static final class GatherAny extends CustomFunction {
    private final long tokens;
    private Tensor token;

    GatherAny(long tokens) {
      this.tokens = tokens;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      token = save(inputs[1]);
      return new Tensor[] {sums(inputs[0], inputs[1], tokens)};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {out(gradients[0], token), null};
    }
  }

  private static final class Gather extends CustomFunction {
    private Tensor token;
    private Tensor slot;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      token = save(inputs[1]);
      slot = save(inputs[2]);
      return new Tensor[] {back(inputs[0], inputs[2])};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      return new Tensor[] {out(gradients[0], token, slot), null, null};
    }
  }
}
