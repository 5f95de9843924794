package moe4j.kernels.product;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.cuda.Kernels;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Linear layers. The kernel of their matrix products is chosen here. */
public final class Gemm {
  private Gemm() {}

  /**
   * {@code y = x w^T + b}.
   *
   * @param x [..., in], any float type
   * @param weight [out, in], in the same type
   * @param bias [out], in the same type, or null
   * @return [..., out], in the same type
   */
  public static Tensor linear(Tensor x, Tensor weight, Tensor bias) {
    boolean sumsBias = bias != null && Kernels.take(x);
    boolean widened = Bf16Products.take(x) && Bf16Products.take(weight);
    if (!OneDnn.takes(x, weight) && !widened && !sumsBias) {
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

  /**
   * {@link #linear} of rows, [T, in], for a function with a gradient of its own.
   *
   * @param weight in x's type, or its {@link #operand}
   */
  public static Tensor product(Tensor x, Tensor weight, Tensor bias) {
    if (Bf16Products.take(x)) {
      return Bf16Products.rounded(
          () -> product(Bf16Products.wide(x), WideWeights.of(weight), Bf16Products.wide(bias)));
    }
    return OneDnn.takes(x, weight)
        ? OneDnn.linear(x, weight, bias)
        : torch.linear(x, weight, Tensors.optional(bias));
  }

  /**
   * A weight in the form that products with tensors of its own type want. Products convert a weight
   * by themselves; where they take parts of one, it is better converted once, as a whole.
   */
  public static Tensor operand(Tensor weight) {
    return Bf16Products.take(weight) ? WideWeights.of(weight) : weight;
  }

  /**
   * {@code g w}, the gradient of {@link #product}'s x for that of its result, [T, out].
   *
   * @param weight in g's type, or its {@link #operand}
   */
  public static Tensor inputGradient(Tensor g, Tensor weight) {
    if (Bf16Products.take(g)) {
      return Bf16Products.rounded(
          () -> inputGradient(Bf16Products.wide(g), WideWeights.of(weight)));
    }
    return OneDnn.takes(g, weight) ? OneDnn.inputGradient(g, weight) : g.mm(weight);
  }

  /**
   * {@code g^T x} and, where there is a bias, the sum of g's rows: the parameters' gradients.
   *
   * @param weight the weight whose gradient is the first result; only its shape and device count
   */
  public static List<Tensor> weightGradients(Tensor g, Tensor x, Tensor weight, boolean bias) {
    if (Bf16Products.take(x)) {
      return Scopes.compute(
          () -> {
            Tensor like = Tensors.empty(ScalarType.Float, weight.device(), weight.shape());
            return weightGradients(Bf16Products.wide(g), Bf16Products.wide(x), like, bias).stream()
                .map(Bf16Products::round)
                .toList();
          },
          gradients -> gradients);
    }
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
   * A linear layer whose gradients are computed here: by oneDNN on a CPU, where bf16 may go through
   * fp32; on a GPU for the bias's, which libtorch is slow to sum.
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
      if (Bf16Products.take(x)) {
        return widened(Bf16Products.wide(g));
      }
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

    /** The same of a gradient that was made fp32 once, for both products. */
    private Tensor[] widened(Tensor g) {
      Tensor wide = WideWeights.of(weight);
      Tensor[] results = new Tensor[3];
      if (needsGradient(0)) {
        results[0] = Bf16Products.rounded(() -> inputGradient(g, wide));
      }
      if (needsGradient(1) || needsGradient(2)) {
        List<Tensor> parameters = weightGradients(g, Bf16Products.wide(x), wide, needsGradient(2));
        results[1] = needsGradient(1) ? Bf16Products.round(parameters.get(0)) : null;
        results[2] = needsGradient(2) ? Bf16Products.round(parameters.get(1)) : null;
      }
      return results;
    }
  }
}
