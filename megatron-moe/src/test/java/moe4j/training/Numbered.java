package moe4j.training;

import java.util.Arrays;
import moe4j.data.GptBatch;
import moe4j.data.SampleDataset;

/** Samples whose tokens are their number, and labels one more; the last prediction is masked. */
public class Numbered implements SampleDataset {
  public static final int SEQUENCE = 3;

  private final long size;

  public Numbered(long size) {
    this.size = size;
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public int seqLength() {
    return SEQUENCE;
  }

  @Override
  public void read(long k, GptBatch batch, int row) {
    int from = row * SEQUENCE;
    int to = from + SEQUENCE;
    Arrays.fill(batch.tokens(), from, to, k);
    Arrays.fill(batch.labels(), from, to, k + 1);
    Arrays.fill(batch.lossMask(), from, to, 1);
    batch.lossMask()[to - 1] = 0;
    for (int i = 0; i < SEQUENCE; i++) {
      batch.positionIds()[from + i] = i;
      batch.documentIds()[from + i] = row;
    }
  }
}
