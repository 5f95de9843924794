package moe4j.moe.experts;

import moe4j.kernels.product.Gemm;
import moe4j.transformer.FeedForward;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Mlp;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;

/**
 * An expert that every token goes to beside those it chose (Dai et al. 2024), in Qwen's form times
 * a gate of its own: {@code sigmoid(x w) mlp(x)}.
 */
public final class SharedExpert implements FeedForward {
  private final Mlp mlp;
  private final Tensor gate;

  /**
   * The shared expert of a layer, with the scope {@code decoder.layers.N.mlp.shared_experts}.
   *
   * @param model gives all but the hidden size. The expert is Megatron's in every model, because
   *     neither the original Transformer-XL nor FastMoE has one
   * @param hidden the expert's hidden size
   * @param gated whether it has a gate
   */
  public SharedExpert(
      LayerShape model, int layer, int hidden, boolean gated, ParameterScope parameters) {
    this.mlp = new Mlp(model.asMegatron().withFfnHiddenSize(hidden), layer, parameters);
    this.gate =
        gated
            ? parameters
                .partialWhereSliced()
                .weight("gate_weight", model.initMethodStd(), 1, model.hiddenSize())
            : null;
  }

  @Override
  public Tensor forward(Tensor hidden, Pass pass) {
    Tensor output = mlp.forward(hidden, pass);
    return gate == null ? output : output.mul(Gemm.linear(hidden, gate, null).sigmoid());
  }
}
