package moe4j.data.preprocess;

/**
 * How far preprocessing has come, or came in all.
 *
 * @param documents written
 * @param tokens written, of all keys, ends of documents included
 * @param bytes of input, uncompressed, that the documents took
 * @param seconds since the start
 */
public record Progress(long documents, long tokens, long bytes, double seconds) {
  /** Documents a second. */
  public double documentsPerSecond() {
    return documents / seconds;
  }

  /** 1e6 bytes of uncompressed input a second. */
  public double megabytesPerSecond() {
    return bytes / seconds / 1e6;
  }
}
