package moe4j.transformer;

import org.bytedeco.pytorch.Tensor;

/** The second half of a transformer layer: a dense MLP, or experts in its place. */
public interface FeedForward {
  /**
   * Computes the block without norm, dropout and residual.
   *
   * @param hidden [B, S, h]
   * @return [B, S, h], in the same type
   */
  Tensor forward(Tensor hidden, Pass pass);

  /**
   * {@link #forward} as a layer asks for it. A block whose last step adds a bias may leave that
   * step to the layer.
   */
  default Delta delta(Tensor hidden, Pass pass) {
    return new Delta(forward(hidden, pass), null);
  }

  /** Makes the feed-forward block of a layer. */
  @FunctionalInterface
  interface Factory {
    /**
     * Makes the block.
     *
     * @param layer the layer's global number, from 0
     * @param parameters the block's scope, {@code decoder.layers.N.mlp}
     */
    FeedForward create(int layer, ParameterScope parameters);
  }
}
