package moe4j.moe.gate;

import moe4j.kernels.experts.RouterProjection;
import moe4j.kernels.experts.TokenRouter;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A router's linear layer: logits in fp32, whatever the type of hidden states and weights. */
public final class RouterLinear {
  private final Tensor weight;
  private final Tensor bias;

  /**
   * @param shape of the gate
   * @param bias whether there is one
   * @param parameters takes {@code weight}, [E, h], and perhaps {@code bias}, [E]
   */
  public RouterLinear(Gate.Shape shape, boolean bias, ParameterScope parameters) {
    this.weight =
        parameters.weight("weight", shape.initMethodStd(), shape.experts(), shape.hiddenSize());
    this.bias = bias ? parameters.bias("bias", shape.experts()) : null;
  }

  /**
   * The logits of all tokens that are routed together.
   *
   * @param hidden [T, h], or this rank's part of the tokens where the pass says so
   * @return fp32 [T, E]
   */
  public Tensor logits(Tensor hidden, Pass pass) {
    Tensor logits = RouterProjection.logits(hidden, weight);
    // The bias before the others' logits: each rank computes its own tokens' part of its gradient.
    return pass.gathered(bias == null ? logits : logits.add(bias.to(ScalarType.Float)));
  }

  /**
   * Routes all tokens that are routed together by their logits.
   *
   * @param hidden as for {@link #logits}
   * @param choiceBias fp32 [E], added to the scores for the choice alone, or null
   */
  TokenRouter route(Tensor hidden, TokenRouter.Form form, Tensor choiceBias, Pass pass) {
    if (pass.routesOwn()) {
      TokenRouter.Beside beside = RealTokens.of(hidden.size(0), pass).beside(choiceBias);
      return TokenRouter.project(hidden, weight, bias, form, beside);
    }
    Tensor logits = logits(hidden, pass);
    return TokenRouter.of(logits, form, RealTokens.of(logits.size(0), pass).beside(choiceBias));
  }
}
