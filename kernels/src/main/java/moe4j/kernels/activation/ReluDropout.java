package moe4j.kernels.activation;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.product.GroupRows;
import moe4j.kernels.product.RowChunks;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * ReLU between two projections, with the bias before it, dropout after it and, for experts, the
 * weight of the row. On a GPU one kernel each way computes all of it and rounds once. Without
 * weights it keeps only its result for the backward, which the next projection keeps, too; with
 * weights it keeps x.
 */
public final class ReluDropout {
  private static final Scalar ZERO = Scopes.keep(() -> new Scalar(0));

  private ReluDropout() {}

  /**
   * {@code y[r] = weight[r] dropout(relu(x[r] + bias[g]))} for the group g that row r is in.
   *
   * @param x [R, f], or [..., f] where there are neither offsets nor weights; on a GPU bf16 or fp32
   * @param bias [f]; or [G, f] with offsets; or null without them
   * @param offsets int32 [G], where each group ends, or null; the rows after the last end are
   *     zeros, and their gradient, which may be anything, has no effect
   * @param weight [R], fp32 or bf16, or null; its gradient is in that type
   * @param drop the dropout of x's elements
   * @return of x's shape and type
   * @throws IllegalArgumentException where shapes or types do not go together
   */
  public static Tensor apply(Tensor x, Tensor bias, Tensor offsets, Tensor weight, Dropout drop) {
    check(x, bias, offsets, weight);
    if (Kernels.take(x)) {
      return new Fused(drop).apply(x, bias, weight, offsets)[0];
    }
    if (offsets == null) {
      return weighted(drop.apply(torch.relu(bias == null ? x : x.add(bias))), weight);
    }
    // Rows that are in no group may reach no gradient, nor may the gradient of their results.
    Tensor none = GroupRows.none(offsets, x.size(0));
    Tensor sum = x.add(GroupRows.of(bias, offsets, x.size(0))).masked_fill(none, ZERO);
    return weighted(drop.apply(torch.relu(sum)), weight).masked_fill(none, ZERO);
  }

  private static Tensor weighted(Tensor y, Tensor weight) {
    return weight == null ? y : y.mul(weight.to(Tensors.dtype(y)).unsqueeze(1));
  }

  private static void check(Tensor x, Tensor bias, Tensor offsets, Tensor weight) {
    long f = x.size(-1);
    long groups = offsets == null ? 1 : offsets.numel();
    boolean fits =
        bias == null
            ? offsets == null
            : bias.dim() == (offsets == null ? 1 : 2) && bias.numel() == groups * f;
    boolean plain = offsets == null && weight == null;
    if (!fits || !(plain || x.dim() == 2) || (weight != null && weight.numel() != x.size(0))) {
      throw new IllegalArgumentException(
          "The sizes of ReLU's x %s, bias %s, %d groups and weights %s do not go together."
              .formatted(
                  Tensors.shape(x),
                  bias == null ? "none" : Tensors.shape(bias),
                  groups,
                  weight == null ? "none" : Tensors.shape(weight)));
    }
  }

  /**
   * What belongs to rows of x.
   *
   * @param bias [G, f] or [f], or null
   * @param offsets int32 [G], or null
   * @param weight [R], fp32 or bf16, or null
   * @param draws of the dropout: where they come from
   */
  private record Rows(
      Tensor bias, Tensor offsets, Tensor weight, Dropout drop, Dropout.Draws draws) {
    private static final String SOURCE = "activation/relu.cu";

    /** How a GPU goes over rows like these; all tensors are given whose alignment matters. */
    RowChunks grid(Tensor x, boolean draw, Tensor... tensors) {
      long f = x.size(-1);
      boolean aligned = f % 8 == 0 && (!draw || draws.inBlocks()) && Launch.aligned(tensors);
      return RowChunks.over(x.numel() / Math.max(1, f), f, offsets, aligned);
    }

    private void forward(Tensor x, Tensor y) {
      RowChunks grid = grid(x, !drop.isNone(), x, bias, y);
      launch("relu_forward", grid, x, bias, offsets, weight, y);
    }

    /**
     * The gradient of weighted rows.
     *
     * @param gradient of the result, [R, f]
     * @param x [R, f]
     * @param dx gets the gradient of x, zeros after the last group
     * @param partials {@link RowChunks#partials}, or null; gets the parts of the bias's gradient
     * @param dots {@link RowChunks#dots}, or null; gets the parts of the weights' gradient
     */
    void backward(
        RowChunks grid, Tensor gradient, Tensor x, Tensor dx, Tensor partials, Tensor dots) {
      launch("relu_backward", grid, gradient, x, bias, offsets, weight, dx, partials, dots);
    }

    private void backwardOfResult(
        RowChunks grid, Tensor gradient, Tensor y, Tensor dx, Tensor partials) {
      kernel("relu_backward", grid, y)
          .launch(
              grid.blocks(),
              grid.threads(),
              0,
              gradient,
              y,
              offsets,
              dx,
              partials,
              grid.rows(),
              grid.columns(),
              grid.groups(),
              grid.chunkRows(),
              grid.tiles().columnBlocks(),
              drop.scale());
    }

    private CudaKernel kernel(String function, RowChunks grid, Tensor x) {
      List<String> defines = new ArrayList<>();
      defines.add(grid.define());
      defines.add("WEIGHTED=" + (weight == null ? 0 : 1));
      if (weight != null) {
        defines.add("WEIGHT=" + Launch.name(Tensors.dtype(weight)));
      }
      defines.add("DROP=" + (drop.isNone() ? 0 : 1));
      if (!drop.isNone()) {
        defines.add(draws.define());
      }
      return Launch.kernel(SOURCE, function, Tensors.dtype(x), defines.toArray(new String[0]));
    }

    /** Launches with these tensors, and after them the grid and the key of the draws. */
    private void launch(String function, RowChunks grid, Tensor... tensors) {
      List<Object> arguments = new ArrayList<>(Arrays.asList(tensors));
      arguments.addAll(
          List.of(
              grid.rows(),
              grid.columns(),
              grid.groups(),
              grid.chunkRows(),
              grid.tiles().columnBlocks(),
              drop.seed()));
      arguments.add(draws.position());
      arguments.addAll(
          List.of(
              draws.run(),
              draws.stride(),
              draws.offset(),
              drop.layer(),
              drop.operation(),
              (float) drop.p(),
              drop.scale()));
      kernel(function, grid, tensors[0])
          .launch(grid.blocks(), grid.threads(), 0, arguments.toArray());
    }
  }

  private static final class Fused extends CustomFunction {
    private final Dropout drop;
    private Rows rows;

    /** x, or y where there are no weights. */
    private Tensor kept;

    Fused(Dropout drop) {
      this.drop = drop.isNone() ? Dropout.NONE : drop;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      Tensor x = inputs[0].contiguous();
      Tensor bias = inputs[1] == null ? null : save(inputs[1].contiguous());
      Tensor weight = inputs[2] == null ? null : save(inputs[2].contiguous());
      Tensor offsets = inputs[3] == null ? null : save(inputs[3].contiguous());
      Launch.sameType(x, bias);
      if (offsets != null) {
        Launch.require(offsets, "offsets", ScalarType.Int, offsets.numel());
      }
      Dropout.Draws fresh = drop.draws(x);
      Dropout.Draws draws = drop.isNone() ? fresh : fresh.at(save(fresh.position()));
      rows = new Rows(bias, offsets, weight, drop, draws);
      Tensor y = Launch.empty(x);
      rows.forward(x, y);
      kept = save(weight == null ? y : x);
      return new Tensor[] {y};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor dx = Launch.empty(kept);
      boolean weighted = rows.weight != null;
      boolean draw = weighted && !drop.isNone();
      RowChunks grid = rows.grid(kept, draw, gradients[0], kept, rows.bias, dx);
      Tensor sums = needsGradient(1) ? Launch.empty(rows.bias) : null;
      Tensor rowSums = needsGradient(2) ? Launch.empty(rows.weight) : null;
      Tensor partials = sums == null ? null : grid.partials(kept);
      Tensor dots = rowSums == null ? null : grid.dots(kept);
      if (weighted) {
        rows.backward(grid, gradients[0], kept, dx, partials, dots);
      } else {
        rows.backwardOfResult(grid, gradients[0], kept, dx, partials);
      }
      grid.finish(rows.offsets, partials, sums, dots, rowSums);
      return new Tensor[] {needsGradient(0) ? dx : null, sums, rowSums, null};
    }
  }
}
