package moe4j.data;

/**
 * Samples side by side, in flat arrays that are filled again and again: position {@code s} of row
 * {@code r} is at {@code r * seqLength + s}.
 *
 * @param rows samples, the micro-batch
 * @param seqLength tokens a sample, S
 * @param tokens the model's input
 * @param labels the token after each, which the model is to predict
 * @param lossMask 1 where a prediction counts, else 0
 * @param positionIds 0 to S - 1, or from 0 after each end of a document
 * @param documentIds 0, or one more after each end of a document: attention stays among equals
 */
@SuppressWarnings("ArrayRecordComponent") // a buffer: nobody compares two
public record GptBatch(
    int rows,
    int seqLength,
    long[] tokens,
    long[] labels,
    float[] lossMask,
    int[] positionIds,
    int[] documentIds) {

  /** Room for {@code rows} samples of {@code seqLength} tokens. */
  public static GptBatch allocate(int rows, int seqLength) {
    int size = Math.multiplyExact(rows, seqLength);
    return new GptBatch(
        rows,
        seqLength,
        new long[size],
        new long[size],
        new float[size],
        new int[size],
        new int[size]);
  }

  /** Fills row {@code r} with the sample {@code ids[r]}, for all rows. */
  public void fill(SampleDataset dataset, long[] ids) {
    if (ids.length != rows || dataset.seqLength() != seqLength) {
      throw new IllegalArgumentException(
          "%d samples of %d tokens do not fill a batch of %d samples of %d tokens"
              .formatted(ids.length, dataset.seqLength(), rows, seqLength));
    }
    for (int row = 0; row < rows; row++) {
      dataset.read(ids[row], this, row);
    }
  }
}
