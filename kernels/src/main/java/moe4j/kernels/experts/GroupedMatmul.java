package moe4j.kernels.experts;

import moe4j.kernels.product.Bf16Products;
import moe4j.tensor.BoxedOp;
import org.bytedeco.pytorch.Tensor;

/**
 * Consecutive groups of rows, each times a matrix of its own: {@code aten::_grouped_mm}, which on a
 * GPU reads on the device where a group ends, so that the host need not know.
 */
public final class GroupedMatmul {
  private static final BoxedOp GROUPED_MM = BoxedOp.find("aten::_grouped_mm", "");

  /** Where {@code aten::_grouped_mm} lets a row begin, in bytes. */
  private static final long ALIGNMENT = 16;

  private GroupedMatmul() {}

  /** The number that both dimensions of each group's matrix have to be multiples of. */
  public static long multiple(Tensor weight) {
    return ALIGNMENT / weight.element_size();
  }

  /**
   * {@code y[r] = x[r] w[g]^T} for the group g that row r is in.
   *
   * @param x [R, in], its groups one after the other, bf16 or fp32
   * @param weight [G, out, in], as linear layers have it; both in {@link #multiple multiples}
   * @param offsets int32 [G], where each group ends; rows after the last end are not computed, and
   *     their gradient, which may be anything, has no effect
   * @return [R, out]; its gradient has to be dense, not an expanded scalar
   */
  public static Tensor linear(Tensor x, Tensor weight, Tensor offsets) {
    if (Bf16Products.take(x) && Bf16Products.take(weight)) {
      return Bf16Products.round(linear(Bf16Products.wide(x), Bf16Products.wide(weight), offsets));
    }
    return GROUPED_MM.call(x, weight.transpose(1, 2), offsets, null, null);
  }
}
