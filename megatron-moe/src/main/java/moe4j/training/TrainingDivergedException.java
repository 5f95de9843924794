package moe4j.training;

/** A loss or a gradient was not finite, and the run was not told to go on all the same. */
public final class TrainingDivergedException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** With one sentence for the user. */
  public TrainingDivergedException(String sentence) {
    super(sentence);
  }
}
