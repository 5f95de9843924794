package moe4j.moe.gate;

import java.util.Objects;

/**
 * What a gate says of itself, so that no other code has to know gates by their names. Flags are
 * checked against it, costs are counted by it, help and docs quote it. A test holds every gate to
 * its specification.
 *
 * @param name what {@code --balance-strategy} takes
 * @param description one sentence: where tokens go, and with what weights
 * @param choice who chooses whom
 * @param balanced what evens the experts' load
 * @param limit how many rows an expert takes
 * @param draws what random numbers do in training; in evaluation no gate draws any
 * @param parameters how many trained numbers the gate has
 */
public record GateSpec(
    String name,
    String description,
    Choice choice,
    Balanced balanced,
    Limit limit,
    Draws draws,
    Parameters parameters) {

  /**
   * Who chooses whom.
   *
   * @param only the one number of experts a token that the gate allows, or null where it allows any
   * @param byExperts whether experts choose tokens, so that a token has any number of experts, and
   *     its routes depend on later tokens of its sequence
   * @param weights what the weights of a token's experts add up to
   */
  public record Choice(Integer only, boolean byExperts, Weights weights) {
    /** Refuses a number of experts that no token can go to. */
    public Choice {
      if (only != null && only < 1) {
        throw new IllegalArgumentException(
            "a gate of %d experts a token routes none".formatted(only));
      }
    }
  }

  /** What the weights of a token's experts add up to, before anything is dropped. */
  public enum Weights {
    /** They add up to 1, or to the factor that the router's flags multiply them by. */
    SUM_TO_ONE,
    /** They add up to 1 where a token has several experts; a single one's weight varies. */
    SEVERAL_SUM_TO_ONE,
    /** Their sum varies from token to token. */
    VARY,
    /** Nothing is known of their sum. */
    UNKNOWN;

    /** Whether the sum is known to be the same for all tokens of so many experts. */
    public boolean sumToOne(int topk) {
      return this == SUM_TO_ONE || (this == SEVERAL_SUM_TO_ONE && topk > 1);
    }
  }

  /** What evens the experts' load. */
  public enum Balanced {
    /** Nothing does, and there is no balance loss. */
    BY_NOTHING,
    /** A loss does, which is weighted by {@code --balance-loss-weight}. */
    BY_LOSS,
    /** The choice itself does, and there is no balance loss. */
    BY_ITSELF,
    /** Nothing is known: there may be a loss, and the gate is taken to even the load. */
    UNKNOWN
  }

  /** How many rows an expert takes, and what becomes of the choices beyond. */
  public enum Limit {
    /** An expert takes all rows that are routed to it. */
    NONE,
    /** In training an expert takes its even share; choices beyond go to other experts. */
    SHARE,
    /** Choices beyond {@code --moe-expert-capacity-factor} are dropped; without it none is. */
    IF_ASKED,
    /** Choices beyond are dropped, by rates of the gate's own where no factor is given. */
    OWN,
    /** Every expert takes as many rows as the factor says, by default 1. */
    FILLED,
    /** Nothing is known, and the flags of the capacity have no effect. */
    UNKNOWN;

    /** Whether {@code --moe-expert-capacity-factor} has an effect. */
    public boolean takesFactor() {
      return this == IF_ASKED || this == OWN || this == FILLED;
    }

    /** Whether choices may be dropped. */
    public boolean drops(boolean factorGiven) {
      return this == OWN || (this == IF_ASKED && factorGiven);
    }

    /** Whether experts can be padded to their limit though no factor is given. */
    public boolean padsWithoutFactor() {
      return this == OWN;
    }

    /** Whether every expert has the same number of rows, which the host knows. */
    public boolean pads(boolean asked) {
      return this == FILLED || asked;
    }
  }

  /** What random numbers do in training. */
  public enum Draws {
    /** None are drawn. */
    NOTHING,
    /** They are noise on what the gate sees: experts of equal parameters stay equal. */
    INPUT,
    /** They are noise on the experts' scores: experts of equal parameters do not stay equal. */
    SCORES,
    /** They leave out experts that a token has chosen. */
    CHOICES,
    /** Nothing is known. */
    UNKNOWN
  }

  /** How many trained numbers a gate has. */
  @FunctionalInterface
  public interface Parameters {
    /** A matrix of the experts by the channels. */
    Parameters MATRIX = (hiddenSize, experts) -> (long) hiddenSize * experts;

    /** Such a matrix, and a bias of each expert. */
    Parameters MATRIX_AND_BIAS = (hiddenSize, experts) -> (hiddenSize + 1L) * experts;

    /**
     * How many.
     *
     * @param hiddenSize h
     * @param experts E
     */
    long count(int hiddenSize, int experts);
  }

  /** Refuses null for any component. */
  public GateSpec {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(description, "description");
    Objects.requireNonNull(choice, "choice");
    Objects.requireNonNull(balanced, "balanced");
    Objects.requireNonNull(limit, "limit");
    Objects.requireNonNull(draws, "draws");
    Objects.requireNonNull(parameters, "parameters");
  }

  /**
   * A gate of which nothing is known yet but its name. Where that is not changed by the methods
   * below, the most careful assumption is made: the gate may have a loss, is taken to even the
   * load, has a matrix's parameters, takes no flags of a capacity, and is not upcycled to.
   */
  public static GateSpec named(String name) {
    return new GateSpec(
        name,
        "A gate of your own decides.",
        new Choice(null, false, Weights.UNKNOWN),
        Balanced.UNKNOWN,
        Limit.UNKNOWN,
        Draws.UNKNOWN,
        Parameters.MATRIX);
  }

  /** The same under another name. */
  GateSpec renamed(String other) {
    return new GateSpec(other, description, choice, balanced, limit, draws, parameters);
  }

  /** The same with one sentence about where tokens go. */
  public GateSpec described(String sentence) {
    return new GateSpec(name, sentence, choice, balanced, limit, draws, parameters);
  }

  /** The same for exactly so many experts a token. */
  public GateSpec onlyTopk(int topk) {
    return choice(new Choice(topk, choice.byExperts(), choice.weights()));
  }

  /** The same where experts choose tokens. */
  public GateSpec byExperts() {
    return choice(new Choice(choice.only(), true, choice.weights()));
  }

  /** The same with what is known of the weights' sum. */
  public GateSpec weights(Weights weights) {
    return choice(new Choice(choice.only(), choice.byExperts(), weights));
  }

  private GateSpec choice(Choice other) {
    return new GateSpec(name, description, other, balanced, limit, draws, parameters);
  }

  /** The same with what evens the load. */
  public GateSpec balanced(Balanced by) {
    return new GateSpec(name, description, choice, by, limit, draws, parameters);
  }

  /** The same with how many rows an expert takes. */
  public GateSpec limit(Limit rows) {
    return new GateSpec(name, description, choice, balanced, rows, draws, parameters);
  }

  /** The same with what random numbers do. */
  public GateSpec draws(Draws what) {
    return new GateSpec(name, description, choice, balanced, limit, what, parameters);
  }

  /** The same with how many parameters there are. */
  public GateSpec parameters(Parameters count) {
    return new GateSpec(name, description, choice, balanced, limit, draws, count);
  }

  /** Whether there is certainly no balance loss. */
  public boolean isWithoutLoss() {
    return balanced == Balanced.BY_NOTHING || balanced == Balanced.BY_ITSELF;
  }

  /**
   * Whether the load is evened; of what is unknown, that it is.
   *
   * @param weighted whether the gate's loss counts
   */
  public boolean isBalanced(boolean weighted) {
    return balanced == Balanced.BY_LOSS ? weighted : balanced != Balanced.BY_NOTHING;
  }

  /**
   * Whether, as far as is known, a token in training may go to one of two experts of equal
   * parameters and not to the other, although it takes two experts or more.
   */
  public boolean partsEquals() {
    return draws == Draws.SCORES || limit == Limit.SHARE;
  }

  /**
   * Refuses a number of experts a token that the gate does not allow.
   *
   * @throws IllegalArgumentException in one sentence
   */
  public void check(int topk) {
    if (choice.only() != null && topk != choice.only()) {
      throw new IllegalArgumentException(
          "--balance-strategy %s needs --top-k %d, not %d".formatted(name, choice.only(), topk));
    }
  }
}
