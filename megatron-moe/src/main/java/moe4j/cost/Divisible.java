package moe4j.cost;

import java.util.Optional;

/**
 * A size of the model that has to be a multiple of a number of ranks.
 *
 * @param by which number
 * @param flag the size's flag, without dashes
 * @param words what a sentence calls it
 * @param value the size
 * @param hint what a sentence adds, or nothing
 * @param alignment bytes of which a rank's part has to be a multiple, 1 for any
 */
public record Divisible(By by, String flag, String words, int value, String hint, int alignment) {

  /** Numbers of ranks. */
  public enum By {
    /** Those that share each matrix. */
    TENSOR("--tensor-model-parallel-size"),
    /** The same, of a size that the tokenizer decides. */
    VOCABULARY("--tensor-model-parallel-size"),
    /** The same, where they share the tokens between the matrices: with sequence parallelism. */
    SEQUENCE("--tensor-model-parallel-size"),
    /** Those that share the experts. */
    EXPERT("--expert-model-parallel-size"),
    /** Those that share each expert. */
    EXPERT_TENSOR("--expert-tensor-parallel-size"),
    /** Those that share the tokens that are routed. */
    ROUTING("--tensor-model-parallel-size");

    private final String flag;

    By(String flag) {
      this.flag = flag;
    }

    /** The flag that sets it. */
    public String flag() {
      return flag;
    }

    /** How many they are. */
    public int ranks(Placement placement) {
      return switch (this) {
        case TENSOR, VOCABULARY, ROUTING -> placement.tensor();
        case SEQUENCE -> placement.sequenceParallel() ? placement.tensor() : 1;
        case EXPERT -> placement.expert();
        case EXPERT_TENSOR -> placement.expertTensor();
      };
    }
  }

  /** A flag's value that has to be a multiple. */
  public static Divisible of(By by, String flag, int value) {
    return new Divisible(by, flag, "--" + flag, value, "", 1);
  }

  /** The same, called otherwise in sentences. */
  public Divisible called(String other) {
    return new Divisible(by, flag, other, value, hint, alignment);
  }

  /** The same, with something behind the sentence. */
  public Divisible hinting(String more) {
    return new Divisible(by, flag, words, value, more, alignment);
  }

  /** The same, of which a rank's part takes a multiple of so many bytes a row. */
  public Divisible aligned(int bytes) {
    return new Divisible(by, flag, words, value, hint, bytes);
  }

  /** Why it cannot be divided so; nothing where it can. */
  public Optional<String> refusal(Placement placement) {
    int ranks = by.ranks(placement);
    return value % ranks == 0
        ? Optional.empty()
        : Optional.of(
            "%s %d is no multiple of %s %d%s".formatted(words, value, by.flag, ranks, hint));
  }
}
