package moe4j.kernels.attention;

import java.util.Arrays;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.cuda.Tiles;
import moe4j.kernels.product.ColumnSum;
import moe4j.kernels.product.Gemm;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * The projection of a stream to the queries, keys and values of attention, one matrix in Megatron's
 * order: for each group its heads' queries, its key, its value. On a GPU the three are views of the
 * product, and a kernel of ours puts their gradients together and sums the bias's in passing.
 */
public final class QkvProjection {
  private QkvProjection() {}

  /**
   * The heads that are projected to.
   *
   * @param groups of heads that share keys and values: g
   * @param headsPerGroup p
   * @param channels of a head: d
   */
  public record Heads(long groups, long headsPerGroup, long channels) {
    /** Rows of the weight: g (p + 2) d. */
    long rows() {
      return groups * (headsPerGroup + 2) * channels;
    }
  }

  /**
   * Queries, keys and values.
   *
   * @param query [..., g p, d]
   * @param key [..., g, d]
   * @param value [..., g, d]
   */
  public record Parts(Tensor query, Tensor key, Tensor value) {}

  /**
   * Projects to queries, keys and values.
   *
   * @param x [..., h]
   * @param weight [g (p + 2) d, h]
   * @param bias [g (p + 2) d], or null; all three in one type, on a GPU bf16 or fp32
   * @throws IllegalArgumentException where the weight's rows are not those of the heads
   */
  public static Parts apply(Tensor x, Tensor weight, Tensor bias, Heads heads) {
    if (weight.size(0) != heads.rows()) {
      throw new IllegalArgumentException(
          "A projection to %s needs a weight of %d rows, not one of shape %s."
              .formatted(heads, heads.rows(), Tensors.shape(weight)));
    }
    long[] outer = Arrays.copyOf(x.shape(), Math.toIntExact(x.dim() - 1));
    if (Kernels.take(x)) {
      Tensor rows = x.reshape(-1, x.size(-1));
      Tensor[] parts = new Projection(heads).apply(rows, weight, bias);
      return parts(parts[0], parts[1], parts[2], outer, heads);
    }
    return split(Gemm.linear(x, weight, bias), heads);
  }

  /**
   * Splits what was projected by other means.
   *
   * @param projected [..., g (p + 2) d]
   */
  public static Parts split(Tensor projected, Heads heads) {
    long[] outer = Arrays.copyOf(projected.shape(), Math.toIntExact(projected.dim() - 1));
    TensorVector parts =
        projected
            .view(shape(outer, heads.groups(), heads.headsPerGroup() + 2, heads.channels()))
            .split(new long[] {heads.headsPerGroup(), 1, 1}, -2);
    return parts(parts.get(0), parts.get(1), parts.get(2), outer, heads);
  }

  private static Parts parts(Tensor query, Tensor key, Tensor value, long[] outer, Heads heads) {
    long[] shared = shape(outer, heads.groups(), heads.channels());
    return new Parts(
        query.reshape(shape(outer, heads.groups() * heads.headsPerGroup(), heads.channels())),
        key.view(shared),
        value.view(shared));
  }

  private static long[] shape(long[] outer, long... inner) {
    long[] shape = Arrays.copyOf(outer, outer.length + inner.length);
    System.arraycopy(inner, 0, shape, outer.length, inner.length);
    return shape;
  }

  /** x [T, h] to the three: [T, g, p, d], [T, g, d], [T, g, d]. */
  private static final class Projection extends CustomFunction {
    private final Heads heads;
    private Tensor x;
    private Tensor weight;

    Projection(Heads heads) {
      this.heads = heads;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0]);
      weight = save(inputs[1]);
      long p = heads.headsPerGroup();
      Tensor all =
          torch
              .linear(inputs[0], inputs[1], Tensors.optional(inputs[2]))
              .view(-1, heads.groups(), p + 2, heads.channels());
      // Detached, they are tensors of their own that share the product's memory.
      return new Tensor[] {
        all.narrow(2, 0, p).detach(), all.select(2, p).detach(), all.select(2, p + 1).detach()
      };
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor dq = gradients[0] != null ? gradients[0] : zeros(heads.headsPerGroup());
      Tensor dk = gradients[1] != null ? gradients[1] : zeros(1);
      Tensor dv = gradients[2] != null ? gradients[2] : zeros(1);
      long rows = x.size(0);
      long n = heads.rows();
      boolean aligned = heads.channels() % 8 == 0 && Launch.aligned(dq, dk, dv);
      Tiles tiles = Tiles.over(rows, n, aligned);
      Tensor together = Tensors.empty(Tensors.dtype(x), x.device(), rows, n);
      Tensor partials = needsGradient(2) ? ColumnSum.partials(x, tiles.chunks(), n) : null;
      Launch.kernel("attention/heads.cu", "heads_together", Tensors.dtype(x), tiles.define())
          .launch(
              tiles.blocks(),
              tiles.threads(),
              0,
              dq,
              dk,
              dv,
              together,
              partials,
              rows,
              Math.toIntExact(n),
              Math.toIntExact(heads.headsPerGroup()),
              Math.toIntExact(heads.channels()),
              tiles.columnBlocks());
      return new Tensor[] {
        needsGradient(0) ? together.mm(weight) : null,
        needsGradient(1) ? together.t().mm(x) : null,
        needsGradient(2) ? ColumnSum.finish(partials, Tensors.dtype(x)) : null
      };
    }

    private Tensor zeros(long perGroup) {
      return Tensors.zeros(
          Tensors.dtype(x), x.device(), x.size(0), heads.groups(), perGroup, heads.channels());
    }
  }
}
