package moe4j.kernels;

import org.bytedeco.pytorch.Tensor;

/**
 * {@code aten::_grouped_mm}: consecutive groups of rows, each times a matrix of its own. Where a
 * group ends is read on the device, so the host need not know.
 */
public final class GroupedMatmul {
  private static final BoxedOp GROUPED_MM = BoxedOp.find("aten::_grouped_mm", "");

  private GroupedMatmul() {}

  /**
   * {@code y[r] = x[r] w[g]^T} for the group g that row r is in.
   *
   * @param x [R, in], its groups one behind the other
   * @param weight [G, out, in], as linear layers have it
   * @param offsets int32 [G], where each group ends
   * @return [R, out]; its gradient has to be dense, not an expanded scalar
   */
  public static Tensor linear(Tensor x, Tensor weight, Tensor offsets) {
    return GROUPED_MM.call(x, weight.transpose(1, 2), offsets, null, null);
  }
}
