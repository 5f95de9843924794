package moe4j.moe;

import java.util.Optional;
import moe4j.moe.dispatch.AllToAll;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.parallel.Groups;
import moe4j.transformer.FeedForward;
import moe4j.transformer.FeedForwardPlaces;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Mlp;

/** One line turns a model into one with experts. */
public final class Moe {
  private Moe() {}

  /**
   * Puts experts in the place of every layer's feed-forward block. A token goes to two of them, and
   * each has half of the block's hidden size, so that active FLOPs stay what they were: {@code
   * --fmoefy} with Megatron's router and a balance loss of 0.01. The model is changed; its old
   * blocks' weights are freed.
   *
   * @param numExperts E, the experts of each layer, in total
   * @return the model that was given
   */
  public static <M extends FeedForwardPlaces> M fmoefy(M model, int numExperts) {
    return fmoefy(
        model,
        MoeConfig.builder().fmoefy(true).numExperts(numExperts).moeAuxLossCoeff(0.01).build());
  }

  /**
   * The same with other experts and another gate. An optimizer of the model is made afterwards.
   *
   * @return the model that was given
   * @throws IllegalArgumentException where the experts' size would be no whole number, or the
   *     pattern of layers is one of another number of layers; the model is then what it was
   */
  public static <M extends FeedForwardPlaces> M fmoefy(M model, MoeConfig moe) {
    model.replaceFeedForward(feedForward(model.layerShape(), moe, model.denseFeedForward()));
    return model;
  }

  /**
   * Why a step with such experts cannot be captured as a CUDA graph, as far as flags and ranks
   * decide that: one sentence; empty where it can be captured.
   */
  public static Optional<String> whyNotCaptured(MoeConfig moe, Groups groups) {
    boolean asks =
        moe.enabled()
            && !groups.expertBlock().isAlone()
            && moe.tokenDispatcher() == TokenDispatcher.Kind.ALL_TO_ALL
            && !moe.isPadded();
    return asks ? Optional.of(AllToAll.ASKS) : Optional.empty();
  }

  /** Makes a model's feed-forward blocks, dense ones and those with experts. */
  public static FeedForward.Factory feedForward(LayerShape model, MoeConfig moe) {
    return feedForward(model, moe, (layer, parameters) -> new Mlp(model, layer, parameters));
  }

  private static FeedForward.Factory feedForward(
      LayerShape model, MoeConfig moe, FeedForward.Factory dense) {
    boolean[] experts = moe.moeLayers(model.layers());
    if (moe.enabled()) {
      // Refused before a layer is made, or one taken out.
      moe.expertHiddenSize(model);
    }
    return (layer, parameters) ->
        experts[layer]
            ? MoeLayer.create(model, moe, layer, parameters)
            : dense.create(layer, parameters);
  }
}
