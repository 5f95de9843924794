package moe4j.data.stream;

import java.util.Objects;
import moe4j.data.GptBatch;
import moe4j.data.SampleDataset;

/**
 * Transformer-XL's {@code LMOrderedIterator} as samples. A stream of N symbols is cut into B
 * columns, each a contiguous part of n = N / B symbols; the rest is dropped. Segment j of a column
 * has the targets {@code j L + 1} to {@code min((j + 1) L, n - 1)}, L being {@code tgtLen}; the
 * last one may be shorter. B samples that follow one another are the same segment of all columns,
 * and the B after them the next one, so that a row of a global batch of B goes on where it stood in
 * the batch before: a model's memory of it is that of the same text. After the last segment an
 * epoch begins at the first.
 *
 * <p>A sample is a row of S = E + L positions, E being {@code extLen}. Position s of segment j is
 * the column's offset {@code p = j L - E + s}:
 *
 * <ul>
 *   <li>token {@code column[p]} and label {@code column[p + 1]}, or both 0 where p is negative or
 *       the segment has ended, {@code p >= min((j + 1) L, n - 1)};
 *   <li>a loss mask of 1 where {@code s >= E} and the segment has not ended, else 0;
 *   <li>position id p, so that the first of a row is {@code -E} exactly where a column begins anew,
 *       and a memory of what was before is to be forgotten;
 *   <li>document id 0.
 * </ul>
 */
public final class SegmentDataset implements SampleDataset {
  private final byte[] stream;
  private final int columns;
  private final int tgtLen;
  private final int extLen;
  private final long epochs;
  private final int columnLength;
  private final int segments;
  private final long size;

  /**
   * @param name of the stream in messages, such as {@code train}
   * @param stream N ids, each an unsigned byte; not copied
   * @param columns B, the rows of a global batch
   * @param tgtLen L, targets a segment
   * @param extLen E, positions before a segment's first that are shown again; 0 for none
   * @param epochs how often the stream is gone through
   * @throws IllegalArgumentException if the numbers make no sense, or the stream is too short for
   *     the columns: one sentence
   */
  public SegmentDataset(
      String name, byte[] stream, int columns, int tgtLen, int extLen, long epochs) {
    if (columns < 1 || tgtLen < 1 || extLen < 0 || epochs < 1) {
      throw new IllegalArgumentException(
          "%s: %d columns, segments of %d targets after %d positions, %d epochs: these do not fit together"
              .formatted(name, columns, tgtLen, extLen, epochs));
    }
    this.stream = stream;
    this.columns = columns;
    this.tgtLen = tgtLen;
    this.extLen = extLen;
    this.epochs = epochs;
    this.columnLength = stream.length / columns;
    if (columnLength < 2) {
      throw new IllegalArgumentException(
          ("the %s data is too short: %d symbols in a batch of %d columns are %d a column, and a"
                  + " column needs 2, one to see and one to predict")
              .formatted(name, stream.length, columns, columnLength));
    }
    this.segments = (columnLength - 2) / tgtLen + 1;
    this.size = Math.multiplyExact(epochs, (long) segments * columns);
    Math.addExact(extLen, tgtLen);
  }

  /** Epochs times segments times columns. */
  @Override
  public long size() {
    return size;
  }

  /** S = E + L. */
  @Override
  public int seqLength() {
    return extLen + tgtLen;
  }

  /** Rows of a global batch, B. */
  public int columns() {
    return columns;
  }

  /** Symbols of a column, n. */
  public int columnLength() {
    return columnLength;
  }

  /** Segments of a column: the global batches of an epoch. */
  public int segments() {
    return segments;
  }

  /** How often the stream is gone through. */
  public long epochs() {
    return epochs;
  }

  /** Targets of an epoch, B (n - 1). */
  public long tokensPerEpoch() {
    return (long) columns * (columnLength - 1);
  }

  /** Sample {@code k} is column {@code k % B} of segment {@code k / B}, counted through epochs. */
  @Override
  public void read(long k, GptBatch batch, int row) {
    Objects.checkIndex(k, size);
    int first = (int) (k % columns) * columnLength;
    int begin = (int) (k / columns % segments) * tgtLen;
    int end = begin + Math.min(tgtLen, columnLength - 1 - begin);
    int at = row * seqLength();
    for (int s = 0; s < seqLength(); s++, at++) {
      int p = begin - extLen + s;
      boolean there = p >= 0 && p < end;
      batch.tokens()[at] = there ? stream[first + p] & 0xff : 0;
      batch.labels()[at] = there ? stream[first + p + 1] & 0xff : 0;
      batch.lossMask()[at] = there && p >= begin ? 1 : 0;
      batch.positionIds()[at] = p;
      batch.documentIds()[at] = 0;
    }
  }
}
