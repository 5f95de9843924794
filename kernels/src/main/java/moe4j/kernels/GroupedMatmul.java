package moe4j.kernels;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@code aten::_grouped_mm}: consecutive groups of rows, each times a matrix of its own. Where a
 * group ends is read on the device, so the host need not know.
 */
public final class GroupedMatmul {
  private static final BoxedOp GROUPED_MM = BoxedOp.find("aten::_grouped_mm", "");

  /** Where libtorch lets a row begin, in bytes. */
  private static final long ALIGNMENT = 16;

  private GroupedMatmul() {}

  /** What both dimensions of the matrices have to be multiples of, for elements of a type. */
  public static long multiple(ScalarType dtype) {
    return ALIGNMENT / torch.elementSize(dtype);
  }

  /**
   * {@code y[r] = x[r] w[g]^T} for the group g that row r is in.
   *
   * @param x [R, in], its groups one behind the other
   * @param weight [G, out, in], as linear layers have it; both in {@link #multiple multiples}
   * @param offsets int32 [G], where each group ends
   * @return [R, out]; its gradient has to be dense, not an expanded scalar
   */
  public static Tensor linear(Tensor x, Tensor weight, Tensor offsets) {
    return GROUPED_MM.call(x, weight.transpose(1, 2), offsets, null, null);
  }
}
