package moe4j.data;

/**
 * Deals out sample ids in order: of each block of {@code microBatch * dpSize} ids, rank {@code r}
 * takes the {@code r}-th {@code microBatch}. What has been seen is one number, {@link #consumed},
 * from which a sampler of any {@code dpSize} goes on, as long as the global batch is the same.
 */
public final class MegatronSampler {
  private final String what;
  private final long total;
  private final int microBatch;
  private final int dpRank;
  private final int dpSize;
  private long consumed;

  /**
   * @param what names the samples in messages, such as {@code training}
   * @param total samples there are
   * @param consumed samples of all ranks already seen
   * @param microBatch samples a rank takes at once
   * @throws IllegalArgumentException if no sample is left, or the numbers make no sense
   */
  public MegatronSampler(
      String what, long total, long consumed, int microBatch, int dpRank, int dpSize) {
    if (microBatch < 1 || dpSize < 1 || dpRank < 0 || dpRank >= dpSize || consumed < 0) {
      throw new IllegalArgumentException(
          "micro-batch %d, data-parallel rank %d of %d, %d samples consumed: these do not fit together"
              .formatted(microBatch, dpRank, dpSize, consumed));
    }
    if (consumed >= total) {
      throw new IllegalArgumentException(
          "no %s samples are left: there are %d, and %d are consumed"
              .formatted(what, total, consumed));
    }
    this.what = what;
    this.total = total;
    this.consumed = consumed;
    this.microBatch = microBatch;
    this.dpRank = dpRank;
    this.dpSize = dpSize;
  }

  /** Samples that all ranks together have taken, those before this sampler included. */
  public long consumed() {
    return consumed;
  }

  /** Whether a whole block is left; a shorter one is dropped. */
  public boolean hasNext() {
    return total - consumed >= block();
  }

  /**
   * This rank's next sample ids.
   *
   * @throws IllegalStateException if no whole block is left
   */
  public long[] next() {
    if (!hasNext()) {
      throw new IllegalStateException(
          "the %s samples are used up: of %d, %d are consumed, and the next micro-batch takes %d"
              .formatted(what, total, consumed, block()));
    }
    long[] ids = new long[microBatch];
    for (int i = 0; i < microBatch; i++) {
      ids[i] = consumed + (long) dpRank * microBatch + i;
    }
    consumed += block();
    return ids;
  }

  private long block() {
    return (long) microBatch * dpSize;
  }
}
