package moe4j.transformer;

import moe4j.kernels.dropout.Dropout;
import moe4j.parallel.Group;
import moe4j.tensor.StepRandom;

/**
 * The random numbers of a micro-batch, or none where it is evaluated, and the dropout that is drawn
 * by them. They are drawn by an element's place in the whole tensor: of a tensor of which a rank
 * has a part, {@link #slice} and {@link #part} say which.
 */
public final class Chance {
  private static final Chance NONE = new Chance(null);

  private final StepRandom random;

  private Chance(StepRandom random) {
    this.random = random;
  }

  /** Those of a micro-batch that is trained on. */
  public static Chance of(StepRandom random) {
    return new Chance(random);
  }

  /** None: an evaluation draws nothing. */
  public static Chance none() {
    return NONE;
  }

  /** Whether anything is drawn. */
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

  /** Dropout of probability p; {@link Dropout#NONE} where nothing is drawn. */
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
