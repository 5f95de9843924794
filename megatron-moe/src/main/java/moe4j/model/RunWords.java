package moe4j.model;

/**
 * What sentences call a pretraining command's flags and what it counts.
 *
 * @param step what one update of the model is called, such as {@code iteration}
 * @param steps the flag that says how many of them there are
 * @param batch the flag that says how many samples each of them takes
 * @param directory what the flags of the run's directory are called
 */
public record RunWords(String step, String steps, String batch, SaveWords directory) {
  /** What Megatron-LM calls them. */
  public static RunWords megatron() {
    return new RunWords("iteration", "--train-iters", "--global-batch-size", SaveWords.megatron());
  }
}
