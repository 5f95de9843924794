package moe4j.data.preprocess;

/**
 * Is told every {@code --log-interval} documents, and where these take long every few seconds, on
 * the thread that called the preprocessor.
 */
@FunctionalInterface
public interface PreprocessListener {
  /** What has been written so far. */
  void progress(Progress progress);

  /** The same after each batch of documents, for who shows it in one place. */
  default void moved(Progress progress) {}

  /** Something to be told at the beginning: a sentence. */
  default void note(String sentence) {}
}
