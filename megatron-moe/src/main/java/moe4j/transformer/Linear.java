package moe4j.transformer;

import moe4j.kernels.Gemm;
import org.bytedeco.pytorch.Tensor;

/** {@code y = x W^T + b} with W [out, in]. */
public final class Linear {
  private final Tensor weight;
  private final Tensor bias;

  /**
   * @param std of the initial weights
   * @param bias whether there is one
   */
  public Linear(ParameterScope parameters, long in, long out, double std, boolean bias) {
    this.weight = parameters.weight("weight", std, out, in);
    this.bias = bias ? parameters.bias("bias", out) : null;
  }

  /** [..., in] to [..., out]. */
  public Tensor forward(Tensor x) {
    return Gemm.linear(x, weight, bias);
  }
}
