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

  private static final class Weighted extends CustomFunction {
    private final boolean gated;
    private Tensor x;
    private Tensor weight;

    Weighted(boolean gated) {
      this.gated = gated;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0].contiguous());
      weight = save(inputs[1].contiguous());
      long rows = x.size(0);
      Launch.require(weight, "weights", Tensors.dtype(weight), rows);
      long f = x.size(1) / (gated ? 2 : 1);
      Tensor y = Tensors.empty(Tensors.dtype(x), x.device(), rows, f);
      launch("forward", rows, x, weight, y, rows, Math.toIntExact(f));
      return new Tensor[] {y};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor dx = Launch.empty(x);
      Tensor dweight = Launch.empty(weight);
      long rows = x.size(0);
      int f = Math.toIntExact(gradients[0].size(1));
      launch("backward", rows, x, weight, gradients[0], dx, dweight, rows, f);
      return new Tensor[] {needsGradient(0) ? dx : null, needsGradient(1) ? dweight : null};
    }

    private void launch(String kernel, long rows, Object... arguments) {
      Launch.kernel(
              "experts/weighted_activation.cu",
              kernel,
              Tensors.dtype(x),
              "WEIGHT=" + Launch.name(Tensors.dtype(weight)),
              "GATED=" + (gated ? 1 : 0))
          .launch(Launch.rowBlocks(rows), Launch.ROW_THREADS, 0, arguments);
    }
  }
}
