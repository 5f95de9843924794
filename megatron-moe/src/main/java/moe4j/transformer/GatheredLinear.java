package moe4j.transformer;

import java.util.List;
import moe4j.kernels.product.Gemm;
import moe4j.parallel.Group;
import moe4j.parallel.Mappings;
import moe4j.tensor.CustomFunction;
import org.bytedeco.pytorch.Tensor;

/**
 * A linear layer after {@link Mappings#gather} (Korthikanti et al. 2022). No rank keeps all tokens
 * for the backward. The backward gathers them once more for the weight's gradient, and computes the
 * gradient of x meanwhile; while this is summed and scattered over the ranks, the weight's gradient
 * is computed.
 */
final class GatheredLinear extends CustomFunction {
  private final Group group;
  private Tensor x;
  private Tensor weight;

  private GatheredLinear(Group group) {
    this.group = group;
  }

  /**
   * The product of all ranks' tokens.
   *
   * @param x [B, S/n, in]
   * @param weight [out, in], this rank's outputs
   * @param bias [out], or null
   * @return [B, S, out]
   */
  static Tensor apply(Tensor x, Tensor weight, Tensor bias, Group group) {
    return new GatheredLinear(group).apply(x, weight, bias)[0];
  }

  @Override
  protected Tensor[] forward(Tensor[] inputs) {
    x = save(inputs[0]);
    weight = save(inputs[1]);
    Tensor whole = Mappings.gathered(inputs[0], group);
    Tensor y = Gemm.product(whole.flatten(0, 1), inputs[1], inputs[2]);
    return new Tensor[] {y.view(whole.size(0), whole.size(1), y.size(1))};
  }

  @Override
  protected Tensor[] backward(Tensor[] gradients) {
    Tensor g = gradients[0].flatten(0, 1);
    Mappings.Later whole = Mappings.gatheredLater(x, group);
    Mappings.Later dx = null;
    if (needsGradient(0)) {
      Tensor partial = Gemm.inputGradient(g, weight);
      Tensor tokens = partial.view(gradients[0].size(0), gradients[0].size(1), weight.size(1));
      dx = Mappings.scatteredLater(tokens, group);
    }
    List<Tensor> parameters =
        Gemm.weightGradients(g, whole.get().flatten(0, 1), weight, needsGradient(2));
    return new Tensor[] {
      dx == null ? null : dx.get(),
      needsGradient(1) ? parameters.get(0) : null,
      needsGradient(2) ? parameters.get(1) : null
    };
  }
}
