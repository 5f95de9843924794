package moe4j.kernels.product;

import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.cuda.Tiles;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Sums over rows: the gradients of biases. They are added up in fp32, in an order that depends on
 * nothing but the shape and the GPU. Since they are part of backwards, they have no gradient
 * themselves.
 */
public final class ColumnSum {
  private ColumnSum() {}

  /**
   * {@code y[j] = sum_t x[t, j]}.
   *
   * @param x [T, n], on a GPU bf16 or fp32
   * @return [n], in the same type
   */
  public static Tensor of(Tensor x) {
    if (!Kernels.take(x)) {
      return x.sum(0);
    }
    Tensor rows = x.contiguous();
    long n = rows.size(1);
    Tiles tiles = Tiles.over(rows.size(0), n, n % 8 == 0 && Launch.aligned(rows));
    Tensor partials = partials(rows, tiles.chunks(), n);
    Launch.kernel("product/columns.cu", "column_partials", Tensors.dtype(rows), tiles.define())
        .launch(
            tiles.blocks(),
            tiles.threads(),
            0,
            rows,
            partials,
            rows.size(0),
            Math.toIntExact(n),
            tiles.columnBlocks());
    return finish(partials, Tensors.dtype(rows));
  }

  /** Memory for what a kernel's blocks add up, fp32 [count, n]. */
  public static Tensor partials(Tensor like, long count, long n) {
    return Tensors.empty(ScalarType.Float, like.device(), count, n);
  }

  /** The sum of a kernel's partial sums, fp32 [count, n], on a GPU: [n] in a type. */
  public static Tensor finish(Tensor partials, ScalarType type) {
    int n = Math.toIntExact(partials.size(1));
    Tensor sums = Tensors.empty(type, partials.device(), n);
    Launch.kernel("product/columns.cu", "column_finish", type)
        .launch((n + 31) / 32, 512, 0, partials, sums, Math.toIntExact(partials.size(0)), n);
    return sums;
  }
}
