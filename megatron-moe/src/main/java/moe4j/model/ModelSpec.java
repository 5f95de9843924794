package moe4j.model;

import java.util.Objects;
import moe4j.cost.Costs;
import moe4j.moe.MoeConfig;
import moe4j.transformer.LayerShape;

/**
 * A model by its flags: what a checkpoint keeps of it, and all that it takes to make it again but
 * the vocabulary.
 *
 * @param family the kind of model
 * @param flags the family's {@link ModelFamily#modelFlags record}
 * @param moe the experts
 */
public record ModelSpec(ModelFamily family, Record flags, MoeConfig moe) {

  /**
   * Checks that the flags are the family's, which are checked against the experts in a {@link
   * RunConfig}.
   */
  public ModelSpec {
    if (!family.modelFlags().isInstance(flags)) {
      throw new IllegalArgumentException(
          "flags of the class %s are no %s's"
              .formatted(flags.getClass().getName(), family.title()));
    }
  }

  /**
   * The model's flags.
   *
   * @param type the family's record
   */
  public <R extends Record> R flags(Class<R> type) {
    return type.cast(flags);
  }

  /** What layers and experts need to know of the model. */
  public LayerShape layerShape() {
    return family.layerShape(flags);
  }

  /** Layers of the model. */
  public int layers() {
    return layerShape().layers();
  }

  /** Tokens of a sample. */
  public int sequenceLength() {
    return family.sequenceLength(flags);
  }

  /** Layers with experts. */
  public int moeLayers() {
    return moe.moeLayerCount(layers(), family.layersFlag());
  }

  /** Rows of the embedding for a vocabulary of so many tokens. */
  public int paddedVocabulary(int vocabulary) {
    return family.paddedVocabulary(flags, vocabulary);
  }

  /** What the model costs with so many rows of the embedding. */
  public Costs costs(int paddedVocabulary) {
    return family.costs(this, paddedVocabulary);
  }

  /** Two of the same family, which has no state, with the same flags. */
  @Override
  public boolean equals(Object other) {
    return other instanceof ModelSpec spec
        && family.name().equals(spec.family.name())
        && flags.equals(spec.flags)
        && moe.equals(spec.moe);
  }

  @Override
  public int hashCode() {
    return Objects.hash(family.name(), flags, moe);
  }
}
