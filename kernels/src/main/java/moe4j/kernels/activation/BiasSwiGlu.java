package moe4j.kernels.activation;

import moe4j.kernels.cuda.Kernels;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * {@code y = silu(a) b} with {@code [a, b] = x + bias} along the last dimension (Shazeer 2020). The
 * kernel keeps x alone for the backward, and sums the bias's gradient on the way.
 */
public final class BiasSwiGlu {
  private BiasSwiGlu() {}

  /**
   * Applies the activation.
   *
   * @param x [..., 2 f], any float type; on a GPU bf16 or fp32
   * @param bias [2 f] in the same type, or null
   * @return [..., f], in the same type
   * @throws IllegalArgumentException where a kernel is asked for other shapes or types
   */
  public static Tensor apply(Tensor x, Tensor bias) {
    if (Kernels.take(x)) {
      return new ActivationKernel("swiglu", 2).apply(x, bias)[0];
    }
    TensorVector halves = (bias == null ? x : x.add(bias)).chunk(2, -1);
    return torch.silu(halves.get(0)).mul(halves.get(1));
  }
}
