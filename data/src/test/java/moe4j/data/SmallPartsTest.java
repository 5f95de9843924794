package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotNull;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

/** Datasets that are too small for a part of a run: in a blend as alone. */
public class SmallPartsTest {
  private static final int VOCAB = 5000;

  private final List<String> log = new ArrayList<>();

  /** Documents of 30 tokens that all have one value. */
  private static String corpus(TempDir dir, String name, int token, int documents)
      throws IOException {
    int[] tokens = new int[30];
    Arrays.fill(tokens, token);
    Path prefix = dir.path(name);
    IndexedDatasetTest.write(prefix, DType.U16, Collections.nCopies(documents, List.of(tokens)));
    return prefix.toString();
  }

  private GptDatasets build(String split, String... words) throws IOException {
    log.clear();
    return GptDatasets.build(
        new DataConfig(
            new DataSource.Shared(Blend.parse("--data-path", List.of(words)), Split.parse(split)),
            new SampleCounts(OptionalLong.of(40), OptionalLong.of(8), OptionalLong.of(4)),
            16,
            1234,
            SampleRules.plain(VOCAB, 0),
            Map.of("class", "T"),
            null),
        log::add);
  }

  private static long of(SampleDataset dataset, int token) {
    long count = 0;
    for (long k = 0; k < dataset.size(); k++) {
      count += dataset.get(k).tokens()[0] == token ? 1 : 0;
    }
    return count;
  }

  /** Two documents have none to spare for 5 in 100; alone, the run goes without. */
  @Test
  public void aPartIsBlendedWithoutWhatHasNoneOfIt() throws IOException {
    try (TempDir dir = new TempDir()) {
      String large = corpus(dir, "large", 1, 100);
      String small = corpus(dir, "small", 2, 2);
      assertNull(build("90,5,5", small).valid());
      for (String[] words :
          new String[][] {
            {"1", large, "3", small}, {"3", small, "1", large}, {large, large, small}
          }) {
        GptDatasets datasets = build("90,5,5", words);
        assertTrue(of(datasets.train(), 1) > 0);
        assertTrue(of(datasets.train(), 2) > 0);
        assertEquals(of(datasets.valid(), 1), 8);
        assertEquals(datasets.valid().size(), 8);
        assertEquals(datasets.test().size(), 4);
        assertTrue(
            log.contains(
                "A dataset is left out of the valid data: "
                    + small
                    + " has 2 sequences, of which --split 90,5,5 leaves it none"),
            log.toString());
      }
      GptDatasets none = build("90,5,5", "1", small, "1", small);
      assertNotNull(none.train());
      assertNull(none.valid());
      assertTrue(log.contains("There are no valid data"), log.toString());
    }
  }

  /** What a run cannot do without stays refused, in a blend as alone. */
  @Test
  public void trainDataCannotBeMissing() throws IOException {
    try (TempDir dir = new TempDir()) {
      String large = corpus(dir, "large", 1, 100);
      String small = corpus(dir, "small", 2, 1);
      for (String[] words : new String[][] {{small}, {"1", large, "1", small}}) {
        String message =
            expectThrows(IllegalArgumentException.class, () -> build("30,70", words)).getMessage();
        assertTrue(message.startsWith("no train data from " + small + " with --split 30,70"));
      }
    }
  }

  /** Without weights each is taken once, which may give not one sample. */
  @Test
  public void lessThanASampleIsLeftOut() throws IOException {
    try (TempDir dir = new TempDir()) {
      String large = corpus(dir, "large", 1, 100);
      Path tiny = dir.path("tiny");
      IndexedDatasetTest.write(tiny, DType.U16, List.of(List.of(new int[] {2, 2})));
      assertNotNull(build("1", tiny.toString()).train());
      GptDatasets datasets = build("1", large, tiny.toString(), large);
      assertEquals(of(datasets.train(), 1), datasets.train().size());
      assertTrue(
          log.contains(
              "A dataset is left out of the train data: "
                  + tiny
                  + " has not one train sample of 16 tokens"),
          log.toString());
    }
  }
}
