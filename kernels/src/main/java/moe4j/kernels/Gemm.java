package moe4j.kernels;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** Linear layers: the place where their matrix products' kernel is chosen. */
public final class Gemm {
  private Gemm() {}

  /**
   * {@code y = x w^T + b}.
   *
   * @param x [..., in]
   * @param weight [out, in]
   * @param bias [out], or null
   * @return [..., out]
   */
  public static Tensor linear(Tensor x, Tensor weight, Tensor bias) {
    if (!OneDnn.takes(x, weight)) {
      return torch.linear(x, weight, Tensors.optional(bias));
    }
    long[] shape = x.shape();
    Tensor rows = x.dim() == 2 ? x : x.reshape(-1, shape[shape.length - 1]);
    Tensor y = new OneDnnLinear().apply(rows, weight, bias)[0];
    if (x.dim() == 2) {
      return y;
    }
    shape[shape.length - 1] = weight.size(0);
    return y.view(shape);
  }

  private static final class OneDnnLinear extends CustomFunction {
    private Tensor x;
    private Tensor weight;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0]);
      weight = save(inputs[1]);
      return new Tensor[] {OneDnn.linear(inputs[0], inputs[1], inputs[2])};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor g = gradients[0];
      return new Tensor[] {
        needsGradient(0) ? OneDnn.linear(g, weight.t(), null) : null,
        needsGradient(1) ? OneDnn.transposedProduct(g, x) : null,
        needsGradient(2) ? g.sum(0) : null
      };
    }
  }
}
