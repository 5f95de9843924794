package moe4j.cost;

import java.util.Optional;

/**
 * A size of the model that has to be a multiple of a number of ranks.
 *
 * @param by which number of ranks
 * @param flag the flag that gives the size, without dashes; layouts that cannot be are counted by
 *     it
 * @param words what a message calls the size, such as {@code --num-experts}
 * @param value the size
 * @param hint the end of the message, or an empty text
 * @param alignment a rank's part of a row has to be a multiple of this many bytes; 1 if it need not
 */
public record Divisible(By by, String flag, String words, int value, String hint, int alignment) {

  /** Numbers of ranks. */
  public enum By {
    /** The ranks that share each matrix. */
    TENSOR("--tensor-model-parallel-size"),
    /** The same, of a size that the tokenizer decides. */
    VOCABULARY("--tensor-model-parallel-size"),
    /** The same with sequence parallelism, where they share the tokens between the matrices. */
    SEQUENCE("--tensor-model-parallel-size"),
    /** The ranks that share the experts. */
    EXPERT("--expert-model-parallel-size"),
    /** The ranks that share each expert. */
    EXPERT_TENSOR("--expert-tensor-parallel-size"),
    /** The ranks that share the tokens that are routed. */
    ROUTING("--tensor-model-parallel-size");

    private final String flag;

    By(String flag) {
      this.flag = flag;
    }

    /** The flag that sets it. */
    public String flag() {
      return flag;
    }

    /** How many ranks there are in a placement. */
    public int ranks(Placement placement) {
      return switch (this) {
        case TENSOR, VOCABULARY, ROUTING -> placement.tensor();
        case SEQUENCE -> placement.sequenceParallel() ? placement.tensor() : 1;
        case EXPERT -> placement.expert();
        case EXPERT_TENSOR -> placement.expertTensor();
      };
    }
  }

  /** A flag's value, which messages call by the flag. */
  public static Divisible of(By by, String flag, int value) {
    return new Divisible(by, flag, "--" + flag, value, "", 1);
  }

  /** The same size, which messages call by other words. */
  public Divisible called(String other) {
    return new Divisible(by, flag, other, value, hint, alignment);
  }

  /** The same size, with another end of the message. */
  public Divisible hinting(String more) {
    return new Divisible(by, flag, words, value, more, alignment);
  }

  /** The same size, of which a rank's part of a row must be a multiple of so many bytes. */
  public Divisible aligned(int bytes) {
    return new Divisible(by, flag, words, value, hint, bytes);
  }

  /** Why the size cannot be divided in a placement: one sentence; empty where it can. */
  public Optional<String> refusal(Placement placement) {
    int ranks = by.ranks(placement);
    return value % ranks == 0
        ? Optional.empty()
        : Optional.of(
            "%s %d is no multiple of %s %d%s".formatted(words, value, by.flag, ranks, hint));
  }
}
