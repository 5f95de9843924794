package moe4j.transformer;

import org.bytedeco.pytorch.Tensor;

/**
 * The first half of a transformer layer, the only place where a token learns of others: Megatron's
 * attention, an attention with a memory, a convolution, or anything else that mixes tokens.
 *
 * @param <C> what the mixer needs beside its own tokens' hidden state: {@link SequenceContext} in a
 *     GPT; a model with a memory has another
 */
@FunctionalInterface
public interface SequenceMixer<C> {
  /**
   * Computes the block without norm, dropout and residual.
   *
   * @param hidden [B, S, h], S this rank's part of the tokens where tensor-parallel ranks slice
   *     them (the scope's {@code groups().tokenSlices()})
   * @param context what the model's layers share in this pass
   * @return what is to be added to the stream, [B, S, h] in the same type; a block whose last step
   *     adds a bias may leave that to the layer
   */
  Delta delta(Tensor hidden, C context, Pass pass);

  /** Makes the mixer of a layer. */
  @FunctionalInterface
  interface Factory<C> {
    /**
     * Makes the block.
     *
     * @param layer the layer's global number, from 0
     * @param parameters the block's scope, {@code decoder.layers.N.self_attention}
     */
    SequenceMixer<C> create(int layer, ParameterScope parameters);
  }
}
