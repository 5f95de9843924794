package moe4j.kernels.experts;

import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * An activation and the weight of its row, {@code y[r] = activation(x[r]) weight[r]}, as between
 * experts' projections. On a GPU one kernel each way computes it, rounds once and keeps only x;
 * weights in fp32 are used as they are there.
 */
public final class WeightedActivation {
  private WeightedActivation() {}

  /**
   * The exact GELU, {@code x Phi(x)} (Hendrycks and Gimpel 2016), weighted.
   *
   * @param x [R, f], any float type; on a GPU bf16 or fp32
   * @param weight [R], fp32 or bf16; its gradient is in that type
   * @return [R, f]
   */
  public static Tensor gelu(Tensor x, Tensor weight) {
    return Kernels.take(x)
        ? new Weighted(false).apply(x, weight)[0]
        : weighted(torch.gelu(x), weight);
  }

  /**
   * SwiGLU, {@code silu(a) b} with {@code x = [a, b]} (Shazeer 2020), weighted.
   *
   * @param x [R, 2 f], any float type; on a GPU bf16 or fp32
   * @param weight [R], fp32 or bf16; its gradient is in that type
   * @return [R, f]
   */
  public static Tensor swiglu(Tensor x, Tensor weight) {
    if (Kernels.take(x)) {
      return new Weighted(true).apply(x, weight)[0];
    }
    TensorVector halves = x.chunk(2, -1);
    return weighted(torch.silu(halves.get(0)).mul(halves.get(1)), weight);
  }

  private static Tensor weighted(Tensor activated, Tensor weight) {
    return activated.mul(weight.to(Tensors.dtype(activated)).unsqueeze(1));
  }

  /**
   * Rows and their weights on a GPU, without a gradient.
   *
   * @param gated whether this is SwiGLU, and not GELU
   * @param x [R, f], or [R, 2 f] where gated
   * @param weight [R]
   */
  record Rows(boolean gated, Tensor x, Tensor weight) {
    /** The activations, weighted: [R, f]. */
    Tensor forward() {
      Launch.require(weight, "weights", Tensors.dtype(weight), x.size(0));
      long f = x.size(1) / (gated ? 2 : 1);
      Tensor y = Tensors.empty(Tensors.dtype(x), x.device(), x.size(0), f);
      launch("forward", x, weight, y, x.size(0), Math.toIntExact(f));
      return y;
    }

    /**
     * The gradients.
     *
     * @param gradient of the result
     * @param dx gets the gradient of x
     * @param dweight gets that of the weights
     */
    void backward(Tensor gradient, Tensor dx, Tensor dweight) {
      int f = Math.toIntExact(gradient.size(1));
      launch("backward", x, weight, gradient, dx, dweight, x.size(0), f);
    }

    private void launch(String kernel, Object... arguments) {
      Launch.kernel(
              "experts/weighted_activation.cu",
              kernel,
              Tensors.dtype(x),
              "WEIGHT=" + Launch.name(Tensors.dtype(weight)),
              "GATED=" + (gated ? 1 : 0))
          .launch(Launch.rowBlocks(x.size(0)), Launch.ROW_THREADS, 0, arguments);
    }
  }

  private static final class Weighted extends CustomFunction {
    private final boolean gated;
    private Rows rows;

    Weighted(boolean gated) {
      this.gated = gated;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      rows = new Rows(gated, save(inputs[0].contiguous()), save(inputs[1].contiguous()));
      return new Tensor[] {rows.forward()};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor dx = Launch.empty(rows.x);
      Tensor dweight = Launch.empty(rows.weight);
      rows.backward(gradients[0], dx, dweight);
      return new Tensor[] {needsGradient(0) ? dx : null, needsGradient(1) ? dweight : null};
    }
  }
}
