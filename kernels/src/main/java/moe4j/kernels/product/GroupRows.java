package moe4j.kernels.product;

import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Copies each group's row to all rows that are in the group, as experts add their biases. The
 * gradient is a product with a matrix of ones and zeros that says which row is in which group: its
 * sums are in fp32 and in a fixed order, where libtorch's own gradient adds row by row.
 */
public final class GroupRows {
  private GroupRows() {}

  /**
   * {@code y[r] = x[g]} for the group g that row r is in.
   *
   * @param x [G, n]
   * @param offsets int32 [G], where each group ends
   * @param rows R; the rows after the last end may hold anything, and so may their gradient, which
   *     has no effect
   * @return [R, n]
   */
  public static Tensor of(Tensor x, Tensor offsets, long rows) {
    Tensor group = torch.bucketize(numbers(offsets, rows), offsets, false, true);
    return new Rows().apply(x, group)[0];
  }

  /** Which rows are after the last end: bool [R, 1]. */
  public static Tensor none(Tensor offsets, long rows) {
    return numbers(offsets, rows).ge(offsets.select(0, -1)).unsqueeze(1);
  }

  private static Tensor numbers(Tensor offsets, long rows) {
    return torch.arange(new Scalar(rows), offsets.options());
  }

  private static final class Rows extends CustomFunction {
    private Tensor group;
    private long groups;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      group = save(inputs[1]);
      groups = inputs[0].size(0);
      return new Tensor[] {inputs[0].index_select(0, group.clamp_max(new Scalar(groups - 1)))};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor none = group.eq(new Scalar(groups)).unsqueeze(1);
      Tensor gradient = gradients[0].masked_fill(none, new Scalar(0));
      Tensor all = torch.arange(new Scalar(groups), group.options()).unsqueeze(1);
      Tensor members = group.unsqueeze(0).eq(all).to(Tensors.dtype(gradient));
      return new Tensor[] {Bf16Products.matmul(members, gradient), null};
    }
  }
}
