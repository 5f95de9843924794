package moe4j.data.stream;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.data.GptBatch;
import moe4j.data.MegatronSampler;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class SegmentDatasetTest {
  private final Random random = Seeds.random(SegmentDatasetTest.class);

  /** What upstream's iterator yields: time by column, as it has them. */
  @SuppressWarnings("ArrayRecordComponent") // nobody compares two
  private record Yielded(int i, int[][] data, int[][] target) {}

  /** data_utils.py's LMOrderedIterator, line by line. */
  private static List<Yielded> orderedIterator(byte[] data, int bsz, int bptt, int extLen) {
    int nStep = data.length / bsz;
    // data.narrow(0, 0, n_step * bsz).view(bsz, -1).t()
    int[][] view = new int[nStep][bsz];
    for (int flat = 0; flat < nStep * bsz; flat++) {
      view[flat % nStep][flat / nStep] = Byte.toUnsignedInt(data[flat]);
    }
    List<Yielded> batches = new ArrayList<>();
    // for i in range(start, self.data.size(0) - 1, self.bptt)
    for (int i = 0; i < nStep - 1; i += bptt) {
      int seqLen = Math.min(bptt, nStep - 1 - i);
      int endIdx = i + seqLen;
      int begIdx = Math.max(0, i - extLen);
      batches.add(
          new Yielded(
              i,
              Arrays.copyOfRange(view, begIdx, endIdx),
              Arrays.copyOfRange(view, i + 1, i + 1 + seqLen)));
    }
    return batches;
  }

  private byte[] bytes(int length) {
    byte[] bytes = new byte[length];
    random.nextBytes(bytes);
    return bytes;
  }

  @Test(invocationCount = 200)
  public void samplesAreUpstreams() {
    int columns = 1 + random.nextInt(5);
    int tgtLen = 1 + random.nextInt(9);
    int extLen = random.nextInt(3) == 0 ? 0 : random.nextInt(2 * tgtLen + 4);
    int epochs = 1 + random.nextInt(3);
    byte[] stream = bytes(2 * columns + random.nextInt(120));
    String draw = "N %d, B %d, tgt %d, ext %d".formatted(stream.length, columns, tgtLen, extLen);
    SegmentDataset dataset = new SegmentDataset("train", stream, columns, tgtLen, extLen, epochs);
    List<Yielded> expected = orderedIterator(stream, columns, tgtLen, extLen);

    assertEquals(dataset.segments(), expected.size(), draw);
    assertEquals(dataset.seqLength(), extLen + tgtLen, draw);
    assertEquals(dataset.size(), (long) epochs * expected.size() * columns, draw);
    GptBatch batch = GptBatch.allocate(columns, dataset.seqLength());
    long targets = 0;
    for (int step = 0; step < epochs * expected.size(); step++) {
      // What an earlier sample left in the buffers is not to show through.
      Arrays.fill(batch.tokens(), -7);
      Arrays.fill(batch.labels(), -7);
      Arrays.fill(batch.lossMask(), -7);
      Arrays.fill(batch.positionIds(), -7777);
      Arrays.fill(batch.documentIds(), -7);
      long[] ids = new long[columns];
      for (int column = 0; column < columns; column++) {
        ids[column] = (long) step * columns + column;
      }
      batch.fill(dataset, ids);
      Yielded yielded = expected.get(step % expected.size());
      for (int column = 0; column < columns; column++) {
        targets += compare(batch, column, yielded, extLen, tgtLen, draw + ", step " + step);
      }
      assertEquals(batch.positionIds()[0] == -extLen, step % expected.size() == 0, draw);
    }
    assertEquals(targets, dataset.tokensPerEpoch() * epochs, draw);
  }

  /** Compares one row with upstream's column; returns its targets. */
  private static int compare(
      GptBatch batch, int column, Yielded yielded, int extLen, int tgtLen, String draw) {
    int[][] data = yielded.data();
    int[][] target = yielded.target();
    // Upstream's data begins later where the column does; here it is shifted to the right.
    int shown = data.length - target.length;
    for (int s = 0; s < extLen + tgtLen; s++) {
      int at = column * (extLen + tgtLen) + s;
      String where = draw + ", column " + column + ", position " + s;
      int ofData = s - (extLen - shown);
      boolean there = ofData >= 0 && ofData < data.length;
      assertEquals(batch.tokens()[at], there ? data[ofData][column] : 0, where);
      int ofTarget = s - extLen;
      boolean counts = ofTarget >= 0 && ofTarget < target.length;
      assertEquals(batch.lossMask()[at], counts ? 1f : 0f, where);
      long label = 0;
      if (counts) {
        label = target[ofTarget][column];
      } else if (there) {
        label = data[ofData + 1][column];
      }
      assertEquals(batch.labels()[at], label, where);
      assertEquals(batch.positionIds()[at], yielded.i() - extLen + s, where);
      assertEquals(batch.documentIds()[at], 0, where);
    }
    return target.length;
  }

  /** 0 to 10 in two columns, 0 to 4 and 5 to 9; segments of 3 and of 1. */
  @Test
  public void byHand() {
    byte[] stream = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    SegmentDataset dataset = new SegmentDataset("train", stream, 2, 3, 1, 2);
    assertEquals(dataset.columnLength(), 5);
    assertEquals(dataset.segments(), 2);
    assertEquals(dataset.tokensPerEpoch(), 8);
    assertEquals(dataset.size(), 8);
    GptBatch first = dataset.get(1);
    assertEquals(first.tokens(), new long[] {0, 5, 6, 7});
    assertEquals(first.labels(), new long[] {0, 6, 7, 8});
    assertEquals(first.lossMask(), new float[] {0, 1, 1, 1}, 0f);
    assertEquals(first.positionIds(), new int[] {-1, 0, 1, 2});
    GptBatch last = dataset.get(2);
    assertEquals(last.tokens(), new long[] {2, 3, 0, 0});
    assertEquals(last.labels(), new long[] {3, 4, 0, 0});
    assertEquals(last.lossMask(), new float[] {0, 1, 0, 0}, 0f);
    assertEquals(last.positionIds(), new int[] {2, 3, 4, 5});
    GptBatch again = dataset.get(5);
    assertEquals(again.tokens(), first.tokens());
    assertEquals(again.positionIds(), first.positionIds());
  }

  /** However many ranks share a batch, a row goes on with the text that it had before. */
  @Test
  public void rowsGoOnUnderTheSampler() {
    byte[] stream = bytes(400);
    SegmentDataset dataset = new SegmentDataset("train", stream, 4, 7, 0, 3);
    for (int ranks : new int[] {1, 2, 4}) {
      int rank = random.nextInt(ranks);
      int rows = 4 / ranks;
      MegatronSampler sampler =
          new MegatronSampler("training", dataset.size(), 0, rows, rank, ranks);
      for (int step = 0; sampler.hasNext(); step++) {
        long[] ids = sampler.next();
        for (int row = 0; row < rows; row++) {
          assertEquals(ids[row] % 4, rank * rows + row);
          assertEquals(
              dataset.get(ids[row]).positionIds()[0],
              step % dataset.segments() * 7,
              "step " + step);
        }
      }
    }
  }

  /** More samples than an int counts. */
  @Test
  public void countsOfManySamples() {
    byte[] stream = new byte[10_000_000];
    SegmentDataset dataset = new SegmentDataset("train", stream, 22, 512, 0, 1_000_000_000);
    assertEquals(dataset.columnLength(), 454_545);
    assertEquals(dataset.segments(), 888);
    assertEquals(dataset.size(), 1_000_000_000L * 888 * 22);
    assertEquals(dataset.tokensPerEpoch(), 22L * 454_544);
    assertEquals(dataset.get(dataset.size() - 1).positionIds()[0], 887 * 512);
    expectThrows(IndexOutOfBoundsException.class, () -> dataset.get(dataset.size()));
    expectThrows(IndexOutOfBoundsException.class, () -> dataset.get(-1));
  }

  @Test
  public void refusals() {
    assertEquals(
        refusal(new byte[19], 10, 4, 0, 1),
        "the valid data is too short: 19 symbols in a batch of 10 columns are 1 a column, and a"
            + " column needs 2, one to see and one to predict");
    assertEquals(new SegmentDataset("valid", new byte[20], 10, 4, 0, 1).segments(), 1);
    assertTrue(refusal(new byte[0], 1, 4, 0, 1).startsWith("the valid data is too short: 0 symbo"));
    String numbers = "valid: 0 columns, segments of 4 targets after 0 positions, 1 epochs";
    assertTrue(refusal(new byte[9], 0, 4, 0, 1).startsWith(numbers));
    assertTrue(refusal(new byte[9], 1, 0, 0, 1).contains("segments of 0 targets"));
    assertTrue(refusal(new byte[9], 1, 4, -1, 1).contains("after -1 positions"));
    assertTrue(refusal(new byte[9], 1, 4, 0, 0).contains("0 epochs"));
  }

  private static String refusal(byte[] stream, int columns, int tgtLen, int extLen, long epochs) {
    return expectThrows(
            IllegalArgumentException.class,
            () -> new SegmentDataset("valid", stream, columns, tgtLen, extLen, epochs))
        .getMessage();
  }
}
