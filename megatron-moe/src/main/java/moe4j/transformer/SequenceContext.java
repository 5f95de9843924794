package moe4j.transformer;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What all layers of a model share in one pass over sequences in which no token may see a later
 * one: positions and masks. It is handed to each layer's attention, or to the mixer in its place.
 *
 * @param rotary turns queries and keys, or null
 * @param angles what {@link RotaryEmbedding#at} gave, or null
 * @param documents int64 [B, S], numbering a row's documents, or null where tokens see across them
 * @param allowed bool [B, 1, S, S], true where a query may see a key; null for plain causality
 */
public record SequenceContext(
    RotaryEmbedding rotary, RotaryEmbedding.Angles angles, Tensor documents, Tensor allowed) {

  /** The context of a batch, with rotary positions or null. */
  public static SequenceContext of(Batch batch, RotaryEmbedding rotary) {
    RotaryEmbedding.Angles angles =
        rotary == null ? null : rotary.at(batch.positions(), batch.tokens().size(1));
    return new SequenceContext(rotary, angles, batch.documents(), allowed(batch.documents()));
  }

  /** Causal, and within a document. */
  private static Tensor allowed(Tensor documents) {
    if (documents == null) {
      return null;
    }
    Tensor same = documents.unsqueeze(2).eq(documents.unsqueeze(1));
    return same.to(ScalarType.Byte).tril().to(ScalarType.Bool).unsqueeze(1);
  }
}
