package moe4j.transformer;

/**
 * A model whose layers have places for feed-forward blocks: dense ones, or experts. With this alone
 * {@code Moe.fmoefy} gives any model experts.
 */
public interface FeedForwardPlaces {
  /** What the blocks need to know of the model. Experts take their shape from it, too. */
  LayerShape layerShape();

  /**
   * Replaces every layer's feed-forward block. The old blocks' parameters are freed. An optimizer
   * of the model is made afterwards.
   *
   * @param feedForward makes the new block of each layer
   */
  void replaceFeedForward(FeedForward.Factory feedForward);

  /** Makes the blocks of layers without experts: by default dense ones of {@link #layerShape}. */
  default FeedForward.Factory denseFeedForward() {
    LayerShape shape = layerShape();
    return (layer, parameters) -> new Mlp(shape, layer, parameters);
  }
}
