package moe4j.kernels.attention;

import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Attention with relative positions over a segment and the memory before it: "Transformer-XL" (Dai
 * et al. 2019), section 3.3, with its equation
 *
 * <pre>
 * score[b, n, i, j] = ((q[b, i, n] + u[n]) . k[b, j, n] + (q[b, i, n] + v[n]) . r[i + M - j, n]) / sqrt(d)
 * </pre>
 *
 * for B samples of Q queries, K = M + Q keys of which the first M are memory, n heads of d
 * channels. Query i sees the keys up to M + i, its own; with {@code sameLength} the last M of these
 * alone; and none before {@code first}. Weights are the softmax over what a query sees, then
 * dropped; a query that sees nothing gives 0 and has no gradient.
 *
 * <p>On a GPU it is one pass over tiles, with no tensor of Q by K anywhere ({@code
 * relative_attention.cu}); a backward computes the scores again. There the gradient of {@code
 * position} is added up in no fixed order, unless libtorch's deterministic algorithms are asked
 * for: then in a fixed one, more slowly.
 */
public final class RelativeAttention {
  /** How much of its weights a forward on a GPU leaves to its backward at most, in bf16. */
  public static final long MOST_KEPT_BYTES = 256L << 20;

  private RelativeAttention() {}

  /**
   * Computes attention.
   *
   * @param query [B, Q, n, d], bf16 or fp32 where the kernels compute
   * @param keyValue [B, K, 2, n, d] in the same type, keys at index 0 of the third dimension and
   *     values at 1, as one projection makes them
   * @param position [K, n, d], r: row t is that of distance t
   * @param contentBias [n, d], u
   * @param positionBias [n, d], v
   * @param first int32 [1] on the tensors' device: the first key that is there, read when a kernel
   *     runs, so it stays until after the backward; null for 0
   * @param sameLength whether a query sees M keys, none of them further back than M - 1
   * @param drop of the weights, elements in the order [B, n, Q, K]
   * @return [B, Q, n, d]
   * @throws IllegalArgumentException where shapes or types do not go together, or where a kernel is
   *     asked for heads of more than 128 channels or another type
   */
  public static Tensor apply(
      Tensor query,
      Tensor keyValue,
      Tensor position,
      Tensor contentBias,
      Tensor positionBias,
      Tensor first,
      boolean sameLength,
      Dropout drop) {
    check(query, keyValue, position, contentBias, positionBias, first);
    if (Kernels.take(query)) {
      return new RelativeAttentionKernel(first, sameLength, drop)
          .apply(query, keyValue, position, contentBias, positionBias)[0];
    }
    return reference(query, keyValue, position, contentBias, positionBias, first, sameLength, drop);
  }

  /**
   * The same in libtorch's operations, scores in memory: the CPU's path, and what the kernel is
   * compared with. Any float type; on a CPU bf16 is computed in fp32, as in {@link
   * ScaledDotProductAttention}.
   */
  static Tensor reference(
      Tensor query,
      Tensor keyValue,
      Tensor position,
      Tensor contentBias,
      Tensor positionBias,
      Tensor first,
      boolean sameLength,
      Dropout drop) {
    ScalarType type = Tensors.dtype(query);
    if (query.is_cpu() && type == ScalarType.BFloat16) {
      ScalarType wide = ScalarType.Float;
      return reference(
              query.to(wide),
              keyValue.to(wide),
              position.to(wide),
              contentBias.to(wide),
              positionBias.to(wide),
              first,
              sameLength,
              drop)
          .to(type);
    }
    long queries = query.size(1);
    long memory = keyValue.size(1) - queries;
    Tensor keys = keyValue.select(2, 0).permute(0, 2, 3, 1);
    Tensor values = keyValue.select(2, 1).transpose(1, 2);
    Scalar scale = new Scalar(1 / Math.sqrt((double) query.size(3)));
    Tensor content = query.add(contentBias).mul(scale).transpose(1, 2).matmul(keys);
    // The shift below takes distances in descending order.
    Tensor far = position.flip(0).permute(1, 2, 0);
    Tensor distances = query.add(positionBias).mul(scale).transpose(1, 2).matmul(far);
    Tensor seen = seen(queries, memory, first, sameLength, query.device());
    Tensor hidden = seen.logical_not();
    // A softmax over nothing but -inf would be NaN. So a query that sees nothing gets one over all
    // keys, which is zeroed below.
    Tensor some = hidden.logical_and(seen.any(-1, true));
    Tensor barred =
        torch
            .zeros(new long[] {queries, queries + memory}, content.options())
            .masked_fill_(some, new Scalar(Double.NEGATIVE_INFINITY));
    Tensor weights = content.add(shifted(distances)).add_(barred).softmax(-1);
    if (isSomeoneBlind(first, memory, sameLength)) {
      weights = weights.masked_fill(hidden, new Scalar(0));
    }
    return drop.apply(weights).matmul(values).transpose(1, 2).contiguous();
  }

  /** Whether a query may see nothing: the first one's last key is the memory's end. */
  private static boolean isSomeoneBlind(Tensor first, long memory, boolean sameLength) {
    if (sameLength && memory == 0) {
      return true;
    }
    // Asking a GPU would wait for it.
    return first != null && (first.is_cuda() || Tensors.item(first) > memory);
  }

  /**
   * From distances to keys, [B, n, Q, K]: element (i, j) is {@code x}'s for the distance i + M - j,
   * and anything where there is no such distance. As in the paper's appendix B, an extra column on
   * the left shifts each row against the row above it.
   *
   * @param x [B, n, Q, K], a column for each distance from K - 1 down to 0
   */
  private static Tensor shifted(Tensor x) {
    long[] shape = x.shape();
    long queries = shape[2];
    long keys = shape[3];
    return torch
        .constant_pad_nd(x, 1, 0)
        .view(shape[0], shape[1], keys + 1, queries)
        .narrow(2, 1, keys)
        .reshape(shape);
  }

  /** Bool [Q, K]: which keys a query sees. */
  private static Tensor seen(
      long queries, long memory, Tensor first, boolean sameLength, Device device) {
    Tensor i = torch.arange(new Scalar(queries), Tensors.options(ScalarType.Int, device));
    Tensor j = torch.arange(new Scalar(queries + memory), Tensors.options(ScalarType.Int, device));
    Tensor query = i.unsqueeze(1);
    Tensor seen = j.le(query.add(new Scalar(memory)));
    if (sameLength) {
      seen = seen.logical_and(j.gt(query));
    }
    return first == null ? seen : seen.logical_and(j.ge(first));
  }

  private static void check(
      Tensor query,
      Tensor keyValue,
      Tensor position,
      Tensor contentBias,
      Tensor positionBias,
      Tensor first) {
    Launch.sameType(query, keyValue, position, contentBias, positionBias);
    if (query.dim() != 4
        || !fits(keyValue, query.size(0), -1, 2, query.size(2), query.size(3))
        || keyValue.size(1) < query.size(1)
        || !fits(position, keyValue.size(1), query.size(2), query.size(3))
        || !fits(contentBias, query.size(2), query.size(3))
        || !fits(positionBias, query.size(2), query.size(3))) {
      throw new IllegalArgumentException(
          "Relative attention's queries %s, keys and values %s, positions %s and biases %s, %s do not fit each other."
              .formatted(
                  Tensors.shape(query),
                  Tensors.shape(keyValue),
                  Tensors.shape(position),
                  Tensors.shape(contentBias),
                  Tensors.shape(positionBias)));
    }
    if (first != null
        && (first.numel() != 1
            || Tensors.dtype(first) != ScalarType.Int
            || first.is_cuda() != query.is_cuda())) {
      throw new IllegalArgumentException(
          "The first key is one int32 on the queries' device, not a tensor of shape %s in %s."
              .formatted(Tensors.shape(first), Tensors.dtype(first)));
    }
  }

  /** Whether a tensor has these sizes; -1 is any. */
  private static boolean fits(Tensor t, long... sizes) {
    boolean fits = t.dim() == sizes.length;
    for (int i = 0; fits && i < sizes.length; i++) {
      fits = sizes[i] < 0 || t.size(i) == sizes[i];
    }
    return fits;
  }
}
