package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotNull;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.stream.IntStream;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

public class GptDatasetsTest {
  private static final int VOCAB = 5000;

  /** A corpus of 60 documents whose tokens lie within 1000 above {@code base}. */
  private static String corpus(TempDir dir, String name, int base) throws IOException {
    List<List<int[]>> documents = new ArrayList<>();
    for (int d = 0; d < 60; d++) {
      int document = d;
      documents.add(
          List.of(
              IntStream.range(0, 1 + d * 7 % 23)
                  .map(i -> base + (document * 31 + i) % 1000)
                  .toArray()));
    }
    IndexedDatasetTest.write(dir.path(name), DType.U16, documents);
    return dir.path(name).toString();
  }

  private static SampleCounts counts(long train, long valid, long test) {
    return new SampleCounts(OptionalLong.of(train), OptionalLong.of(valid), OptionalLong.of(test));
  }

  private static DataConfig config(DataSource source, SampleCounts counts, Path cache) {
    Map<String, Object> tokenizer = new LinkedHashMap<>();
    tokenizer.put("class", "T");
    tokenizer.put("tokenizer_path", null);
    return new DataConfig(
        source, counts, 16, 1234, SampleRules.plain(VOCAB, VOCAB - 1), tokenizer, cache);
  }

  private static DataSource shared(String split, String... words) {
    return new DataSource.Shared(Blend.parse("--data-path", List.of(words)), Split.parse(split));
  }

  private static List<long[]> tokens(SampleDataset dataset) {
    List<long[]> samples = new ArrayList<>();
    for (long k = 0; k < dataset.size(); k++) {
      samples.add(dataset.get(k).tokens());
    }
    return samples;
  }

  private static void assertSame(SampleDataset actual, SampleDataset expected) {
    assertEquals(actual.size(), expected.size());
    List<long[]> a = tokens(actual);
    List<long[]> b = tokens(expected);
    for (int k = 0; k < a.size(); k++) {
      assertEquals(a.get(k), b.get(k));
    }
  }

  @Test
  public void namesCacheFilesAsMegatron() throws IOException {
    try (TempDir dir = new TempDir()) {
      Map<String, Object> tokenizer = new LinkedHashMap<>();
      tokenizer.put("class", "T");
      tokenizer.put("tokenizer_path", null);
      Map<String, Object> identifiers = new LinkedHashMap<>();
      identifiers.put("class", "GPTDataset");
      identifiers.put("dataset_path", "data/größe \"x\"_text_document");
      identifiers.put("num_samples", null);
      identifiers.put("index_split", "train");
      identifiers.put("random_seed", 1234L);
      identifiers.put("sequence_length", 1024);
      identifiers.put("split", "969, 30, 1");
      identifiers.put("split_matrix", Split.parse("969, 30, 1").matrix());
      identifiers.put("tokenizer", tokenizer);
      IndexCache cache = new IndexCache(dir.path("c"), identifiers, Part.TRAIN, line -> {});
      assertEquals(
          cache.path("sample_index.npy"),
          dir.path("c/1eb8853788e81a1546da40ff59612a88-GPTDataset-train-sample_index.npy"));
    }
  }

  @Test
  public void readsTheCacheItWrote() throws IOException {
    try (TempDir dir = new TempDir()) {
      String prefix = corpus(dir, "corpus", 0);
      DataConfig config = config(shared("8,1,1", prefix), counts(100, 10, 5), null);
      List<String> log = new ArrayList<>();
      GptDatasets built = GptDatasets.build(config, log::add);
      Path cache = Path.of(prefix, "cache", "GPTDataset_indices");
      assertEquals(log.get(0), "Build and save the GPTDataset train indices in " + cache);
      assertEquals(log.get(1), "> total number of train samples: " + built.train().size());
      List<Path> files = dir.list().stream().filter(p -> p.startsWith(cache)).toList();
      assertEquals(files.size(), 12);
      log.clear();
      GptDatasets loaded = GptDatasets.build(config, log::add);
      assertEquals(log.get(0), "Load the GPTDataset train indices from " + cache);
      for (Part part : Part.values()) {
        assertSame(loaded.of(part), built.of(part));
      }
    }
  }

  @Test
  public void rebuildsADamagedCache() throws IOException {
    try (TempDir dir = new TempDir()) {
      String prefix = corpus(dir, "corpus", 0);
      Path cache = dir.path("cache");
      DataConfig config = config(shared("1", prefix, prefix, prefix), counts(50, 0, 0), cache);
      GptDatasets built = GptDatasets.build(config, line -> {});
      List<Path> files = dir.list().stream().filter(p -> p.startsWith(cache)).toList();
      assertEquals(files.size(), 4 + 3);
      for (Path file : files) {
        byte[] whole = Files.readAllBytes(file);
        byte[] flipped = whole.clone();
        flipped[whole.length - (whole.length > 300 ? 100 : 2)] ^= 1;
        for (byte[] damaged : new byte[][] {Arrays.copyOf(whole, whole.length - 1), flipped, {}}) {
          Files.write(file, damaged);
          List<String> log = new ArrayList<>();
          assertSame(GptDatasets.build(config, log::add).train(), built.train());
          assertTrue(
              log.stream().anyMatch(line -> line.matches("Build the \\w+ train indices again: .*")),
              file + ": " + log);
          assertEquals(Files.readAllBytes(file), whole);
        }
      }
    }
  }

  @Test
  public void goesOnWithoutACache() throws IOException {
    try (TempDir dir = new TempDir()) {
      String prefix = corpus(dir, "corpus", 0);
      Files.writeString(dir.path("file"), "");
      List<String> log = new ArrayList<>();
      DataConfig config = config(shared("1", prefix), counts(9, 0, 0), dir.path("file/cache"));
      assertTrue(GptDatasets.build(config, log::add).train().size() >= 9);
      assertTrue(log.get(0).startsWith("The GPTDataset train indices are not saved: "), log.get(0));
    }
  }

  @Test
  public void blendsByWeight() throws IOException {
    try (TempDir dir = new TempDir()) {
      String a = corpus(dir, "a", 0);
      String b = corpus(dir, "b", 1000);
      GptDatasets datasets =
          GptDatasets.build(
              config(shared("9,1", "1", a, "3", b), counts(200, 8, 8), null), line -> {});
      assertEquals(datasets.train().size(), 200);
      assertEquals(datasets.valid().size(), 8);
      assertNull(datasets.test());
      long ofB = tokens(datasets.train()).stream().filter(t -> t[0] >= 1000).count();
      assertEquals(ofB, 150);
      for (long[] sample : tokens(datasets.train())) {
        assertTrue(
            Arrays.stream(sample).allMatch(t -> t / 1000 == sample[0] / 1000),
            "no sample is of two datasets");
      }
    }
  }

  @Test
  public void blendsEachOnceWithoutWeights() throws IOException {
    try (TempDir dir = new TempDir()) {
      String a = corpus(dir, "a", 0);
      String b = corpus(dir, "b", 1000);
      String c = corpus(dir, "c", 2000);
      OptionalLong epoch = OptionalLong.empty();
      DataSource source = shared("1", a, b, c);
      SampleDataset all =
          GptDatasets.build(config(source, new SampleCounts(epoch, epoch, epoch), null), line -> {})
              .train();
      SampleDataset one =
          GptDatasets.build(
                  config(shared("1", a), new SampleCounts(epoch, epoch, epoch), null), line -> {})
              .train();
      assertEquals(all.size(), 3 * one.size());
      List<long[]> ofA = tokens(all).stream().filter(t -> t[0] < 1000).toList();
      List<long[]> alone = tokens(one);
      for (int k = 0; k < alone.size(); k++) {
        assertEquals(ofA.get(k), alone.get(k));
      }
      assertEquals(
          GptDatasets.build(config(source, counts(10, 0, 0), null), line -> {}).train().size(), 10);
      assertEquals(
          GptDatasets.build(config(source, counts(9999, 0, 0), null), line -> {}).train().size(),
          all.size());
    }
  }

  @Test
  public void takesADatasetForEachPart() throws IOException {
    try (TempDir dir = new TempDir()) {
      Blend a = new Blend(List.of(corpus(dir, "a", 0)), null);
      Blend b = new Blend(List.of(corpus(dir, "b", 1000)), List.of(2.0));
      DataSource source = new DataSource.PerPart(Map.of(Part.TRAIN, a, Part.VALID, b));
      GptDatasets datasets =
          GptDatasets.build(config(source, counts(20, 10, 10), null), line -> {});
      assertTrue(tokens(datasets.train()).stream().allMatch(t -> t[0] < 1000));
      assertTrue(tokens(datasets.valid()).stream().allMatch(t -> t[0] >= 1000));
      assertNull(datasets.test());
    }
  }

  @Test
  public void mockDataAreOrderlyAndInTheVocabulary() throws IOException {
    GptDatasets datasets =
        GptDatasets.build(config(new DataSource.Mock(), counts(20, 10, 10), null), line -> {});
    assertNotNull(datasets.test());
    int follows = 0;
    for (long k = 0; k < 50; k++) {
      GptBatch sample = datasets.train().get(k);
      for (int i = 0; i < 16; i++) {
        assertTrue(sample.labels()[i] >= 0 && sample.labels()[i] < VOCAB);
        follows += sample.labels()[i] == (sample.tokens()[i] + 1) % VOCAB ? 1 : 0;
      }
    }
    assertTrue(follows > 0.98 * 50 * 16, "a token is nearly always the one before plus 1");
  }

  @Test
  public void whatNeedsMoreIsRefused() throws IOException {
    try (TempDir dir = new TempDir()) {
      OptionalLong epoch = OptionalLong.empty();
      SampleCounts epochs = new SampleCounts(epoch, epoch, epoch);
      DataConfig weighted = config(shared("1", "1", corpus(dir, "a", 0), "3", "b"), epochs, null);
      assertEquals(
          refusal(weighted),
          "weights before prefixes share out a number of train samples, and none is given"
              + " (--samples)");
    }
    DataConfig endless =
        new DataConfig(
            new DataSource.Mock(),
            counts(9, 0, 0),
            16,
            1234,
            SampleRules.plain(VOCAB, -1),
            Map.of("class", "T"),
            null);
    assertEquals(
        refusal(endless),
        "--mock-data needs an end-of-document token, which the tokenizer has not");
  }

  private static String refusal(DataConfig config) {
    return expectThrows(IllegalArgumentException.class, () -> GptDatasets.build(config, line -> {}))
        .getMessage();
  }

  @Test
  public void saysWhatIsMissing() throws IOException {
    try (TempDir dir = new TempDir()) {
      String prefix = corpus(dir, "corpus", 0);
      List<String> log = new ArrayList<>();
      GptDatasets datasets =
          GptDatasets.build(config(shared("999,0.5,0.5", prefix), counts(9, 9, 9), null), log::add);
      assertNull(datasets.valid());
      assertEquals(
          log.get(2),
          "There are no valid data: "
              + prefix
              + " has 60 sequences, of which --split 999,0.5,0.5 leaves it none");
      assertSentence(
          shared("0.001,1", prefix),
          "no train data from "
              + prefix
              + " with --split 0.001,1: 0 sequences, from number 0 on, hold no tokens to draw"
              + " samples from");
      assertSentence(
          shared("1", "1", prefix, "2", dir.path("none").toString()),
          "there is no file " + dir.path("none.idx"));
      IndexedDatasetTest.write(dir.path("tiny"), DType.U16, List.of(List.of(new int[] {1, 2})));
      String tiny = dir.path("tiny").toString();
      assertSentence(
          shared("1", tiny, tiny, tiny),
          "%s and %s and %s have not one train sample of 16 tokens to blend"
              .formatted(tiny, tiny, tiny));
    }
  }

  private static void assertSentence(DataSource source, String sentence) {
    assertEquals(
        expectThrows(
                Exception.class,
                () -> GptDatasets.build(config(source, counts(9, 0, 0), null), line -> {}))
            .getMessage(),
        sentence);
  }
}
