package moe4j.moe;

import moe4j.kernels.ExpertMlp;
import moe4j.kernels.GroupedMatmul;
import moe4j.kernels.Tensors;
import moe4j.transformer.Activation;
import moe4j.transformer.Initial;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.TransformerConfig;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Two-layer MLPs without biases, all experts in two grouped matrix products. The routing weight is
 * applied between the projections: the second is linear and has no bias, so that is the same
 * function, and its output need not be kept for the backward.
 */
public final class GroupedMlp implements Experts {
  private final Activation activation;
  private final Tensor fc1;
  private final Tensor fc2;

  /**
   * The experts of a layer, with the scope {@code decoder.layers.N.mlp.experts}.
   *
   * @throws IllegalArgumentException if a size is not one that grouped products take
   */
  public GroupedMlp(TransformerConfig model, MoeConfig moe, ParameterScope parameters) {
    int experts = moe.numExperts();
    long h = model.hiddenSize();
    long f = moe.expertHiddenSize(model);
    this.activation = Activation.of(model);
    this.fc1 =
        parameters.expertWeights(
            "linear_fc1.weight", experts, model.initMethodStd(), activation.inputs() * f, h);
    this.fc2 =
        parameters.expertWeights("linear_fc2.weight", experts, Initial.outputStd(model), h, f);
    long multiple = ExpertMlp.takes(fc1) ? 1 : GroupedMatmul.multiple(fc1);
    if (h % multiple != 0 || f % multiple != 0) {
      throw new IllegalArgumentException(
          "--hidden-size %d and --moe-ffn-hidden-size %d: experts in %s need multiples of %d"
              .formatted(h, f, parameters.dtype() == ScalarType.Float ? "fp32" : "bf16", multiple));
    }
  }

  @Override
  public Tensor forward(Dispatched dispatched) {
    Tensor rows = dispatched.rows();
    if (ExpertMlp.takes(fc1)) {
      Tensor weight = dispatched.weight().to(Tensors.dtype(rows));
      return ExpertMlp.apply(rows, weight, fc1, fc2, dispatched.offsets(), activation);
    }
    Tensor inner = GroupedMatmul.linear(rows, fc1, dispatched.offsets());
    Tensor weighted = activation.weighted(inner, dispatched.weight());
    return GroupedMatmul.linear(weighted, fc2, dispatched.offsets());
  }
}
