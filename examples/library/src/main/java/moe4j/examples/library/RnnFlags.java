package moe4j.examples.library;

import moe4j.config.Flag;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;

/** What a character RNN is. */
public record RnnFlags(
    @Flag(help = "recurrent layers", value = "1") int numLayers,
    @Flag(help = "size of the state, h", required = true) int hiddenSize,
    @Flag(help = "hidden size of the feed-forward block", otherwise = "2 x hidden-size")
        Integer ffnHiddenSize,
    @Flag(help = "characters a sample", required = true) int seqLength) {

  /** Fills what depends on other flags and checks the whole. */
  public RnnFlags {
    if (numLayers < 1 || hiddenSize < 1 || seqLength < 1) {
      throw new IllegalArgumentException(
          "--num-layers %d, --hidden-size %d, --seq-length %d: all are to be positive"
              .formatted(numLayers, hiddenSize, seqLength));
    }
    ffnHiddenSize = ffnHiddenSize == null ? (Integer) (2 * hiddenSize) : ffnHiddenSize;
  }

  /** What feed-forward blocks and experts need to know of the model. */
  LayerShape layerShape() {
    double std = 1 / Math.sqrt(hiddenSize);
    return LayerShape.of(numLayers, hiddenSize, ffnHiddenSize, Activation.GELU, std);
  }
}
