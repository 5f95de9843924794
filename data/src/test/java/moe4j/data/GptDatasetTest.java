package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalLong;
import java.util.Random;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class GptDatasetTest {
  private static final int VOCAB = 300;

  /** Joins the shuffled documents, cuts every S tokens, and compares with each sample. */
  @Test
  public void cutsTheJoinedText() throws IOException {
    Random random = Seeds.random(GptDatasetTest.class);
    try (TempDir dir = new TempDir()) {
      for (int trial = 0; trial < 50; trial++) {
        int sequences = 1 + random.nextInt(30);
        List<List<int[]>> documents = new ArrayList<>();
        for (int s = 0; s < sequences; s++) {
          int[] tokens = random.ints(1 + random.nextInt(20), 0, VOCAB).toArray();
          documents.add(List.of(random.nextInt(8) == 0 ? new int[0] : tokens));
        }
        documents.add(List.of(new int[] {7, 8}));
        Path prefix = dir.path("corpus" + trial);
        IndexedDatasetTest.write(prefix, DType.U16, documents);
        IndexedDataset source = IndexedDataset.open(prefix, 3 + random.nextInt(4));
        int seqLength = 1 + random.nextInt(30);
        boolean drop = random.nextBoolean();
        OptionalLong samples =
            random.nextBoolean() ? OptionalLong.empty() : OptionalLong.of(random.nextInt(40));
        GptIndices indices =
            GptIndices.build(
                source::length,
                new GptIndices.Request(
                    new Split.Range(random.nextInt(sequences), sequences + 1),
                    samples,
                    seqLength,
                    random.nextInt(1000),
                    drop));
        GptDataset dataset =
            new GptDataset(source, indices, seqLength, SampleRules.plain(VOCAB, 0));

        int[] text =
            Arrays.stream(indices.documentIndex())
                .flatMap(s -> Arrays.stream(documents.get(s).get(0)))
                .toArray();
        int whole = (text.length - 1) / seqLength;
        int partial = drop || (text.length - 1) % seqLength == 0 ? 0 : 1;
        assertEquals(dataset.size(), whole + partial);
        assertTrue(dataset.size() >= samples.orElse(0));
        GptBatch batch = GptBatch.allocate(2, seqLength);
        Arrays.fill(batch.lossMask(), 5f);
        for (int k = 0; k < dataset.size(); k++) {
          dataset.read(k, batch, 1);
          int begin = indices.shuffleIndex()[k] * seqLength;
          for (int i = 0; i < seqLength; i++) {
            int at = seqLength + i;
            boolean padded = begin + i + 1 >= text.length;
            assertEquals(batch.tokens()[at], begin + i < text.length ? text[begin + i] : 0);
            assertEquals(batch.labels()[at], padded ? 0 : text[begin + i + 1]);
            assertEquals(batch.lossMask()[at], padded ? 0f : 1f);
            assertEquals(batch.positionIds()[at], i);
            assertEquals(batch.documentIds()[at], 0);
            assertEquals(batch.lossMask()[i], 5f, "the other row stays");
          }
        }
        assertThrows(IndexOutOfBoundsException.class, () -> dataset.read(dataset.size(), batch, 0));
      }
    }
  }

  @Test
  public void restartsAfterDocuments() {
    long[] text = {5, 9, 9, 1, 2, 9, 3, 4};
    GptBatch batch = GptBatch.allocate(1, 7);
    new SampleRules(10, 9, -1, true, true, true).apply(text, batch, 0);
    assertEquals(batch.tokens(), new long[] {5, 9, 9, 1, 2, 9, 3});
    assertEquals(batch.labels(), new long[] {9, 9, 1, 2, 9, 3, 4});
    assertEquals(batch.lossMask(), new float[] {1, 0, 0, 1, 1, 0, 1});
    assertEquals(batch.positionIds(), new int[] {0, 1, 0, 0, 1, 2, 0});
    assertEquals(batch.documentIds(), new int[] {0, 0, 1, 2, 2, 2, 3});
    new SampleRules(10, 9, 2, false, false, false).apply(text, batch, 0);
    assertEquals(batch.tokens(), new long[] {5, 9, 9, 1, 0, 9, 3}, "a real pad id becomes 0");
    assertEquals(batch.labels(), new long[] {9, 9, 1, 0, 9, 3, 4});
    assertEquals(batch.lossMask(), new float[] {1, 1, 1, 0, 1, 1, 1});
    assertEquals(batch.positionIds(), new int[] {0, 1, 2, 3, 4, 5, 6});
    assertEquals(batch.documentIds(), new int[7]);
    assertEquals(new SampleRules(10, 9, 9, false, false, false).pad(), -1, "pad must not be eod");
    assertThrows(IllegalArgumentException.class, () -> SampleRules.plain(10, 10));
    assertThrows(IllegalArgumentException.class, () -> SampleRules.plain(10, -2));
  }

  @DataProvider
  public Object[][] rulesByDocument() {
    return new Object[][] {
      {true, false, false, "--reset-position-ids"},
      {false, true, false, "--reset-attention-mask"},
      {false, false, true, "--eod-mask-loss"},
    };
  }

  @Test(dataProvider = "rulesByDocument")
  public void rulesByDocumentNeedItsEnd(
      boolean positions, boolean attention, boolean loss, String flag) {
    assertEquals(
        expectThrows(
                IllegalArgumentException.class,
                () -> new SampleRules(10, -1, -1, positions, attention, loss))
            .getMessage(),
        flag + " needs an end-of-document token, which the tokenizer has not");
  }

  @Test
  public void withoutAnEndOfDocumentTextIsTakenAsItIs() {
    GptBatch batch = GptBatch.allocate(1, 3);
    SampleRules.plain(10, -1).apply(new long[] {5, 9, 0, 1}, batch, 0);
    assertEquals(batch.tokens(), new long[] {5, 9, 0});
    assertEquals(batch.labels(), new long[] {9, 0, 1});
    assertEquals(batch.lossMask(), new float[] {1, 1, 1});
  }

  @Test
  public void namesTokensOutOfRange() throws IOException {
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("corpus");
      for (int bad : new int[] {VOCAB, -1}) {
        IndexedDatasetTest.write(
            prefix,
            DType.I32,
            List.of(
                List.of(new int[] {1, 2, 3}),
                List.of(),
                List.of(new int[] {1}, new int[] {4, bad, 5, 6})));
        IndexedDataset source = IndexedDataset.open(prefix);
        GptDataset dataset =
            new GptDataset(
                source,
                GptIndices.build(
                    source::length,
                    new GptIndices.Request(
                        new Split.Range(2, 3), OptionalLong.empty(), 3, 1234, true)),
                3,
                SampleRules.plain(VOCAB, 0));
        assertEquals(
            expectThrows(UncheckedIOException.class, () -> dataset.get(0)).getMessage(),
            prefix
                + ".bin, document 2, sequence 2, token 1 is "
                + bad
                + ", but the vocabulary has 300 ids");
      }
    }
  }

  @Test
  public void fillsBatches() {
    SampleDataset dataset =
        new SampleDataset() {
          @Override
          public long size() {
            return 10;
          }

          @Override
          public int seqLength() {
            return 2;
          }

          @Override
          public void read(long k, GptBatch batch, int row) {
            SampleRules.plain(30, 29).apply(new long[] {k, k + 1, k + 2}, batch, row);
          }
        };
    GptBatch batch = GptBatch.allocate(3, 2);
    batch.fill(dataset, new long[] {4, 9, 0});
    assertEquals(batch.tokens(), new long[] {4, 5, 9, 10, 0, 1});
    assertEquals(batch.labels(), new long[] {5, 6, 10, 11, 1, 2});
    assertThrows(IllegalArgumentException.class, () -> batch.fill(dataset, new long[] {4, 9}));
  }
}
