package moe4j.moe;

import java.util.ArrayList;
import java.util.List;
import moe4j.transformer.FeedForward;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.Pass;
import moe4j.transformer.TransformerConfig;
import org.bytedeco.pytorch.Tensor;

/**
 * A mixture of experts in a feed-forward block's place: gate, dispatcher, experts. Several layers
 * may have the same experts, each with a gate of its own (Ma et al., KDD 2018).
 */
public final class MoeLayer implements FeedForward {
  private final int layer;
  private final Gate gate;
  private final TokenDispatcher dispatcher;
  private final Experts experts;
  private final FeedForward shared;

  /**
   * Puts a layer together.
   *
   * @param layer the layer's global number, under which its load is logged
   */
  public MoeLayer(int layer, Gate gate, TokenDispatcher dispatcher, Experts experts) {
    this(layer, gate, dispatcher, experts, null);
  }

  /**
   * The same with an expert that every token goes to.
   *
   * @param shared computes [T, h] to [T, h], or null
   */
  public MoeLayer(
      int layer, Gate gate, TokenDispatcher dispatcher, Experts experts, FeedForward shared) {
    this.layer = layer;
    this.gate = gate;
    this.dispatcher = dispatcher;
    this.experts = experts;
    this.shared = shared;
  }

  /**
   * A layer for a model of one's own; what the builder is not told is as usual.
   *
   * @param hiddenSize h
   * @param numExperts E, in total
   */
  public static MoeLayerBuilder builder(int hiddenSize, int numExperts) {
    return new MoeLayerBuilder(hiddenSize, numExperts);
  }

  /** The layer that a model's flags ask for, all experts on this rank. */
  public static MoeLayer create(
      TransformerConfig model, MoeConfig moe, int layer, ParameterScope parameters) {
    return new MoeLayer(
        layer,
        Gates.create(model, moe, layer, parameters.child("router")),
        TokenDispatcher.local(),
        new GroupedMlp(moe.expertShape(model), parameters.child("experts")),
        moe.moeSharedExpertIntermediateSize() == null
            ? null
            : new SharedExpert(
                model,
                moe.moeSharedExpertIntermediateSize(),
                moe.moeSharedExpertGate(),
                parameters.child("shared_experts")));
  }

  @Override
  public Tensor forward(Tensor hidden, Pass pass) {
    return forward(hidden, null, pass);
  }

  /**
   * Computes the layer but for some tokens.
   *
   * @param hidden [..., h]
   * @param mask as many values as there are tokens, or null
   * @return [..., d], d being h where the experts have it as input and output
   */
  public Tensor forward(Tensor hidden, TokenMask mask, Pass pass) {
    Routing routing = route(hidden, mask, pass);
    Tensor tokens = hidden.flatten(0, -2);
    var pending = dispatcher.dispatch(List.of(tokens), routing);
    Tensor beside = shared == null ? null : shared.forward(tokens, pass);
    Tensor rows = experts.forward(pending.finish(), pass);
    return output(rows, routing, beside, mask, hidden);
  }

  /**
   * The same where the experts have several inputs or outputs.
   *
   * @param inputs [..., h] each, h its own; the gate sees the first
   * @param mask as many values as there are tokens, or null
   * @return the experts' outputs, [..., d] each, d its own; a shared expert adds to the first
   */
  public List<Tensor> forward(List<Tensor> inputs, TokenMask mask, Pass pass) {
    Tensor hidden = inputs.get(0);
    Routing routing = route(hidden, mask, pass);
    List<Tensor> flat = new ArrayList<>();
    for (Tensor input : inputs) {
      Tensor tokens = input.flatten(0, -2);
      if (tokens.size(0) != routing.tokens()) {
        throw new IllegalArgumentException(
            "an input of %d tokens beside one of %d".formatted(tokens.size(0), routing.tokens()));
      }
      flat.add(tokens);
    }
    var pending = dispatcher.dispatch(flat, routing);
    Tensor beside = shared == null ? null : shared.forward(flat.get(0), pass);
    List<Tensor> outputs = new ArrayList<>();
    for (Tensor rows : experts.forwardAll(pending.finish(), pass)) {
      outputs.add(output(rows, routing, outputs.isEmpty() ? beside : null, mask, hidden));
    }
    return outputs;
  }

  private Routing route(Tensor hidden, TokenMask mask, Pass pass) {
    Routing routing = gate.route(hidden.flatten(0, -2), pass);
    if (mask != null) {
      if (mask.values().numel() != routing.tokens()) {
        throw new IllegalArgumentException(
            "a mask of %d values for %d tokens".formatted(mask.values().numel(), routing.tokens()));
      }
      routing = routing.without(mask.left());
    }
    pass.addLoad(new Pass.ExpertLoad(layer, routing.tokensPerExpert(), routing.routed()));
    return routing;
  }

  private Tensor output(
      Tensor rows, Routing routing, Tensor beside, TokenMask mask, Tensor hidden) {
    Tensor output = dispatcher.combine(rows, routing).finish();
    if (beside != null) {
      output = output.add(beside);
    }
    if (mask != null) {
      output = mask.fill(output);
    }
    long[] shape = hidden.shape();
    shape[shape.length - 1] = output.size(1);
    return output.view(shape);
  }
}
