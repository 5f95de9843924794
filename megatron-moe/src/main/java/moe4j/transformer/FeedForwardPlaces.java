package moe4j.transformer;

/**
 * A model whose layers have places for feed-forward blocks: dense ones, or experts. With this alone
 * {@code Moe.fmoefy} gives any model experts.
 */
public interface FeedForwardPlaces {
  /** What the blocks need to know of the model; its experts are like its dense blocks. */
  LayerShape layerShape();

  /**
   * Makes every layer's feed-forward block anew, with other parameters; those of the old ones are
   * freed. An optimizer of the model is made afterwards.
   */
  void replaceFeedForward(FeedForward.Factory feedForward);

  /** What the model has in layers without experts: as its {@link #layerShape} says. */
  default FeedForward.Factory denseFeedForward() {
    LayerShape shape = layerShape();
    return (layer, parameters) -> new Mlp(shape, layer, parameters);
  }
}
