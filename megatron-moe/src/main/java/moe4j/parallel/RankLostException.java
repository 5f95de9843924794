package moe4j.parallel;

/** Another rank is gone, or did not answer in time: one sentence that names it and the cause. */
public final class RankLostException extends RuntimeException {
  /** With the sentence, and what c10d said. */
  public RankLostException(String sentence, Throwable cause) {
    super(sentence, cause);
  }
}
