package moe4j.transformer;

import moe4j.kernels.Gemm;
import moe4j.kernels.Kernels;
import moe4j.kernels.QkvProjection;
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

  /**
   * {@link #forward}, with the bias left to the kernel that comes next where that is faster: on a
   * GPU. On a CPU the product adds it for nothing.
   */
  public Delta withoutBias(Tensor x) {
    return bias != null && Kernels.take(x)
        ? new Delta(Gemm.linear(x, weight, null), bias)
        : new Delta(forward(x), null);
  }

  /** {@link QkvProjection#apply} with this layer's weight and bias. */
  public QkvProjection.Parts heads(Tensor x, QkvProjection.Heads heads) {
    return QkvProjection.apply(x, weight, bias, heads);
  }

  /** [..., in] to [..., out]. */
  public Tensor forward(Tensor x) {
    return Gemm.linear(x, weight, bias);
  }
}
