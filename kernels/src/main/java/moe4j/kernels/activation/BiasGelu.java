package moe4j.kernels.activation;

import moe4j.kernels.cuda.Kernels;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * {@code y = gelu(x + bias)} with the exact GELU, {@code x Phi(x)} (Hendrycks and Gimpel 2016). The
 * kernel keeps x alone for the backward, and sums the bias's gradient on the way.
 */
public final class BiasGelu {
  private BiasGelu() {}

  /**
   * Applies the activation.
   *
   * @param x [..., f], any float type; on a GPU bf16 or fp32
   * @param bias [f] in the same type, or null
   * @return [..., f], in the same type
   * @throws IllegalArgumentException where a kernel is asked for other shapes or types
   */
  public static Tensor apply(Tensor x, Tensor bias) {
    if (Kernels.take(x)) {
      return new ActivationKernel("gelu", 1).apply(x, bias)[0];
    }
    return torch.gelu(bias == null ? x : x.add(bias));
  }
}
