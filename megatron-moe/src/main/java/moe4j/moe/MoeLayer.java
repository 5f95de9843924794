package moe4j.moe;

import moe4j.transformer.FeedForward;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import moe4j.transformer.TransformerConfig;
import org.bytedeco.pytorch.Tensor;

/** A mixture of experts in a feed-forward block's place: gate, dispatcher, experts. */
public final class MoeLayer implements FeedForward {
  private final int layer;
  private final Gate gate;
  private final TokenDispatcher dispatcher;
  private final Experts experts;

  /**
   * Puts a layer together.
   *
   * @param layer the layer's global number, under which its load is logged
   */
  public MoeLayer(int layer, Gate gate, TokenDispatcher dispatcher, Experts experts) {
    this.layer = layer;
    this.gate = gate;
    this.dispatcher = dispatcher;
    this.experts = experts;
  }

  /** Megatron's MoE layer: a top-k router over grouped MLPs, all on this rank. */
  public static MoeLayer create(
      TransformerConfig model, MoeConfig moe, int layer, ParameterScope parameters) {
    return new MoeLayer(
        layer,
        new TopKRouter(model, moe, layer, parameters.child("router")),
        TokenDispatcher.local(),
        new GroupedMlp(model, moe, parameters.child("experts")));
  }

  @Override
  public Tensor forward(Tensor hidden, Pass pass) {
    Tensor tokens = hidden.flatten(0, -2);
    Routing routing = gate.route(tokens, pass);
    pass.addLoad(new Pass.ExpertLoad(layer, routing.tokensPerExpert(), routing.token().numel()));
    Dispatched dispatched = dispatcher.dispatch(tokens, routing).finish();
    Tensor rows = experts.forward(dispatched);
    return dispatcher.combine(rows, routing).finish().view(hidden.shape());
  }
}
