package moe4j.kernels.experts;

import java.util.Arrays;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.product.GroupRows;
import moe4j.kernels.product.RowChunks;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A group's bias on each of its rows, weighted by row: what experts' second projections add where
 * the routing weight is applied in front of them. On a GPU one kernel each way computes it; y's
 * gradient is the result's.
 */
public final class GroupBias {
  private GroupBias() {}

  /**
   * {@code y[r] + weight[r] bias[g]} for the group g that row r is in.
   *
   * @param y [R, h]
   * @param bias [G, h]
   * @param offsets int32 [G], where each group ends; rows after the last end stay as they are, and
   *     their gradient, which may be anything, has no effect on bias and weight
   * @param weight [R], fp32 or bf16, or null; its gradient is in that type
   * @return [R, h], in y's type, on a GPU bf16 or fp32
   * @throws IllegalArgumentException where sizes or types do not go together
   */
  public static Tensor add(Tensor y, Tensor bias, Tensor offsets, Tensor weight) {
    if (y.dim() != 2
        || bias.dim() != 2
        || bias.size(1) != y.size(1)
        || bias.size(0) != offsets.numel()
        || (weight != null && weight.numel() != y.size(0))) {
      throw new IllegalArgumentException(
          "The sizes of %d groups, their biases %s, rows %s and weights %s do not go together."
              .formatted(
                  offsets.numel(),
                  Tensors.shape(bias),
                  Tensors.shape(y),
                  weight == null ? "none" : Tensors.shape(weight)));
    }
    if (Kernels.take(y)) {
      return new Fused().apply(y, bias, weight, offsets)[0];
    }
    Tensor rows = GroupRows.of(bias, offsets, y.size(0));
    if (weight != null) {
      rows = rows.mul(weight.to(Tensors.dtype(y)).unsqueeze(1));
    }
    return y.add(rows.masked_fill(GroupRows.none(offsets, y.size(0)), new Scalar(0)));
  }

  /**
   * Rows of groups that have a bias each, on a GPU.
   *
   * @param bias [G, h]
   * @param weight [R], fp32 or bf16, or null for ones
   * @param offsets int32 [G], where each group ends
   * @param count R
   */
  record Rows(Tensor bias, Tensor weight, Tensor offsets, long count) {
    private RowChunks grid(Tensor... rows) {
      boolean aligned = bias.size(1) % 8 == 0 && Launch.aligned(bias) && Launch.aligned(rows);
      return RowChunks.over(count, bias.size(1), offsets, aligned);
    }

    /** {@link GroupBias#add} without a gradient. */
    Tensor add(Tensor y) {
      Tensor out = Launch.empty(y);
      launch("group_bias_forward", grid(y, out), y, bias, offsets, weight, out);
      return out;
    }

    /** In how many parts {@link #backward} gives a row's product with its bias. */
    int parts(Tensor gradient) {
      return grid(gradient).tiles().columnBlocks();
    }

    /**
     * What a gradient adds up to: {@code sums[g] = sum_r weight[r] gradient[r]} over each group's
     * rows, and for each row the parts of {@code <gradient[r], bias[g]>}.
     *
     * @param gradient [R, h]; rows after the last group have no effect
     * @param sums [G, h], or null
     * @param dots fp32 [parts, R], or null; zeros after the last group
     */
    void backward(Tensor gradient, Tensor sums, Tensor dots) {
      RowChunks grid = grid(gradient);
      Tensor partials = sums == null ? null : grid.partials(gradient);
      launch("group_bias_backward", grid, gradient, bias, offsets, weight, partials, dots);
      grid.finish(offsets, partials, sums, null, null);
    }

    private void launch(String function, RowChunks grid, Tensor... tensors) {
      Object[] arguments = Arrays.copyOf(tensors, tensors.length + 5, Object[].class);
      arguments[tensors.length] = grid.rows();
      arguments[tensors.length + 1] = grid.columns();
      arguments[tensors.length + 2] = grid.groups();
      arguments[tensors.length + 3] = grid.chunkRows();
      arguments[tensors.length + 4] = grid.tiles().columnBlocks();
      Launch.kernel(
              "experts/group_bias.cu",
              function,
              Tensors.dtype(bias),
              grid.define(),
              "WEIGHTED=" + (weight == null ? 0 : 1),
              "WEIGHT=" + (weight == null ? "float" : Launch.name(Tensors.dtype(weight))))
          .launch(grid.blocks(), grid.threads(), 0, arguments);
    }
  }

  private static final class Fused extends CustomFunction {
    private Rows rows;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      Tensor y = inputs[0].contiguous();
      Tensor bias = save(inputs[1].contiguous());
      Tensor weight = inputs[2] == null ? null : save(inputs[2].contiguous());
      Tensor offsets = save(inputs[3].contiguous());
      Launch.require(offsets, "offsets", ScalarType.Int, bias.size(0));
      Launch.sameType(y, bias);
      rows = new Rows(bias, weight, offsets, y.size(0));
      return new Tensor[] {rows.add(y)};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor gradient = gradients[0];
      Tensor sums = needsGradient(1) ? Launch.empty(rows.bias) : null;
      Tensor rowSums = needsGradient(2) ? Launch.empty(rows.weight) : null;
      if (sums != null || rowSums != null) {
        RowChunks grid = rows.grid(gradient);
        Tensor dots = rowSums == null ? null : grid.dots(gradient);
        rows.backward(gradient, sums, dots);
        grid.finish(rows.offsets, null, null, dots, rowSums);
      }
      // This is another handle of the same memory: the one that was given is closed after the
      // backward.
      return new Tensor[] {needsGradient(0) ? gradient.detach() : null, sums, rowSums, null};
    }
  }
}
