package moe4j.data;

/** Samples to train on or to evaluate with, in their final order. Safe for several threads. */
public interface SampleDataset {
  /** How many samples there are. */
  long size();

  /** Tokens a sample, S. */
  int seqLength();

  /**
   * Reads sample {@code k} into a row of a batch.
   *
   * @param k 0 to {@link #size} - 1
   * @throws java.io.UncheckedIOException if a token is out of the vocabulary's range
   */
  void read(long k, GptBatch batch, int row);

  /** Sample {@code k} as a batch of one row. */
  default GptBatch get(long k) {
    GptBatch batch = GptBatch.allocate(1, seqLength());
    read(k, batch, 0);
    return batch;
  }
}
