package moe4j.kernels;

import java.util.ArrayList;
import java.util.List;
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
    boolean sumsBias = bias != null && Kernels.take(x);
    if (!OneDnn.takes(x, weight) && !sumsBias) {
      return torch.linear(x, weight, Tensors.optional(bias));
    }
    long[] shape = x.shape();
    Tensor rows = x.dim() == 2 ? x : x.reshape(-1, shape[shape.length - 1]);
    Tensor y = new Linear().apply(rows, weight, bias)[0];
    if (x.dim() == 2) {
      return y;
    }
    shape[shape.length - 1] = weight.size(0);
    return y.view(shape);
  }

  /** {@link #linear} of rows, [T, in], for a function with a gradient of its own. */
  public static Tensor product(Tensor x, Tensor weight, Tensor bias) {
    return OneDnn.takes(x, weight)
        ? OneDnn.linear(x, weight, bias)
        : torch.linear(x, weight, Tensors.optional(bias));
  }

  /** {@code g w}, the gradient of {@link #product}'s x for that of its result, [T, out]. */
  public static Tensor inputGradient(Tensor g, Tensor weight) {
    return OneDnn.takes(g, weight) ? OneDnn.inputGradient(g, weight) : g.mm(weight);
  }

  /** {@code g^T x} and, where there is a bias, the sum of g's rows: the parameters' gradients. */
  public static List<Tensor> weightGradients(Tensor g, Tensor x, Tensor weight, boolean bias) {
    if (OneDnn.takes(g, weight)) {
      return OneDnn.weightGradients(g, x, weight, bias);
    }
    List<Tensor> gradients = new ArrayList<>(List.of(g.t().mm(x)));
    if (bias) {
      gradients.add(ColumnSum.of(g));
    }
    return gradients;
  }

  /**
   * A linear layer whose gradients are computed here: by oneDNN on a CPU; on a GPU for the bias's,
   * which libtorch is slow to sum.
   */
  private static final class Linear extends CustomFunction {
    private Tensor x;
    private Tensor weight;

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0]);
      weight = save(inputs[1]);
      return new Tensor[] {product(inputs[0], inputs[1], inputs[2])};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor g = gradients[0];
      List<Tensor> parameters =
          needsGradient(1) || needsGradient(2)
              ? weightGradients(g, x, weight, needsGradient(2))
              : List.of();
      return new Tensor[] {
        needsGradient(0) ? inputGradient(g, weight) : null,
        needsGradient(1) ? parameters.get(0) : null,
        needsGradient(2) ? parameters.get(1) : null
      };
    }
  }
}
