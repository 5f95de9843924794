package moe4j.transformer;

import moe4j.kernels.dropout.Dropout;
import moe4j.parallel.Group;
import moe4j.tensor.StepRandom;

/**
 * The random numbers of a micro-batch, and dropout that is drawn by them. A micro-batch that is
 * evaluated has none, and nothing is dropped. A number depends on its element's place in the whole
 * tensor. Where a rank has a part of a tensor, {@link #slice} and {@link #part} say which part.
 */
public final class Chance {
  private static final Chance NONE = new Chance(null);

  private final StepRandom random;

  private Chance(StepRandom random) {
    this.random = random;
  }

  /** The random numbers of a micro-batch that is trained on. */
  public static Chance of(StepRandom random) {
    return new Chance(random);
  }

  /** No random numbers: an evaluation draws nothing. */
  public static Chance none() {
    return NONE;
  }

  /** Whether anything is drawn: in training, and not in an evaluation. */
  public boolean isOn() {
    return random != null;
  }

  /**
   * The numbers themselves.
   *
   * @throws IllegalStateException where nothing is drawn
   */
  public StepRandom random() {
    if (random == null) {
      throw new IllegalStateException("an evaluation pass draws no random numbers");
    }
    return random;
  }

  /**
   * Dropout of probability p; {@link Dropout#NONE} where nothing is drawn.
   *
   * @param layer 0 for the embedding, N + 1 for layer N, counted from 0
   * @param operation what is dropped; each operation of a layer draws other numbers
   */
  public Dropout dropout(double p, int layer, Operation operation) {
    return random == null ? Dropout.NONE : new Dropout(random, p, layer, operation.id());
  }

  /** For something that all of a step's samples share: one draw, the same on every rank. */
  public Chance common() {
    return random == null ? this : new Chance(random.common());
  }

  /**
   * For one of several pieces of what samples share, whose places in the whole are not known: each
   * piece draws for itself.
   *
   * @param number the piece's, from 0
   */
  public Chance piece(int number) {
    return random == null ? this : new Chance(random.shared().branch(number));
  }

  /** For a tensor of which each rank of a group has an n-th of the tokens, in the ranks' order. */
  public Chance slice(Group slices) {
    return random == null ? this : new Chance(random.slice(slices.rank(), slices.size()));
  }

  /**
   * For a tensor of which each rank of a group has an n-th: of each sample one contiguous part, in
   * the ranks' order.
   */
  public Chance part(Group parts) {
    return random == null ? this : new Chance(random.part(parts.rank(), parts.size()));
  }
}
