package moe4j.parallel;

/** Another rank is gone, or did not answer in time: one sentence that names it and the cause. */
public final class RankLostException extends RuntimeException {
  /** An exception with a sentence for users, and c10d's own as the cause. */
  public RankLostException(String sentence, Throwable cause) {
    super(sentence, cause);
  }
}
