package moe4j.data.preprocess;

/** Is told every {@code --log-interval} documents, on the thread that called the preprocessor. */
@FunctionalInterface
public interface ProgressListener {
  /** Documents up to a multiple of the interval have been written. */
  void progress(Progress progress);
}
