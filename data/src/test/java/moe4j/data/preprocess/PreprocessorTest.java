package moe4j.data.preprocess;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import moe4j.data.DType;
import moe4j.data.IndexedDataset;
import moe4j.testing.Seeds;
import moe4j.tokenizer.Tokenizer;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;
import org.testng.annotations.Test;

public class PreprocessorTest {
  @Test
  public void jsonLinesByMegatronsRules() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input =
          space.write(
              "a.jsonl",
              """
              {"text": "one", "meta": {"text": "no", "n": [1, NaN, {}]}}
              {"id": 7, "text": ""}

              {"text": ["two", "", "thr\\u00e9e \\ud83d\\ude00"]}
              {"text": []}
              {"text": ["", ""]}
              {"text": "first", "text": "last"}
              """);
      Progress all = Workspace.run(space.config(input));
      assertEquals(
          space.texts("text"),
          List.of("one$", "", "two|thr\u00e9e \ud83d\ude00$", "", "", "last$"));
      assertEquals(all.documents(), 6);
      assertEquals(all.tokens(), 4 + 3 + 12 + 5);
      IndexedDataset dataset = IndexedDataset.open(space.root.resolve("out/data_text_document"));
      assertEquals(dataset.dtype(), DType.U16);
      assertEquals(dataset.sequences(), 4);

      Workspace.run(space.config(List.of(input), TextDocuments.FILE, List.of("text"), false, 1));
      assertEquals(
          space.texts("text"), List.of("one", "", "two|thr\u00e9e \ud83d\ude00", "", "", "last"));
    }
  }

  @Test
  public void eachKeyHasFilesOfItsOwn() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input =
          space.write(
              "a.json", "{\"title\":\"A\",\"body\":\"x\"}\n{\"body\":\"y\",\"title\":\"B\"}");
      Workspace.run(
          space.config(List.of(input), TextDocuments.FILE, List.of("body", "title"), true, 3));
      assertEquals(space.texts("body"), List.of("x$", "y$"));
      assertEquals(space.texts("title"), List.of("A$", "B$"));
      assertEquals(
          space.outputs(),
          List.of(
              "data_body_document.bin",
              "data_body_document.idx",
              "data_title_document.bin",
              "data_title_document.idx"));
    }
  }

  @Test
  public void directoriesAreReadInOrder() throws Exception {
    try (Workspace space = new Workspace()) {
      space.write("tree/b/Second.java", "class Second {}\n");
      space.write("tree/a.txt", "first\n\nfile");
      space.write("tree/b/third.txt.gz", "third");
      space.write("tree/c.jsonl.gz", "{\"text\": \"fourth\"}\r\n{\"text\": \"fifth\"}");
      space.write("tree/d.txt", "");
      space.write("tree/.hidden/e.txt", "no");
      Path last = space.write("last.jsonl", "{\"text\": \"last\"}");
      Progress all = Workspace.run(space.config(space.root.resolve("in/tree"), last));
      assertEquals(
          space.texts("text"),
          List.of(
              "first\n\nfile$", "class Second {}\n$", "third$", "fourth$", "fifth$", "", "last$"));
      assertEquals(all.documents(), 7);
      assertEquals(all.bytes(), 11 + 16 + 5 + 20 + 17 + 0 + 16);
    }
  }

  @Test
  public void paragraphs() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.txt", "\n \nFirst\n lines\n\n\t\r\nsecond\r\n\nthird");
      Workspace.run(
          space.config(List.of(input), TextDocuments.PARAGRAPH, List.of("play"), true, 2));
      assertEquals(space.texts("play"), List.of("First\n lines\n$", "second\r\n$", "third$"));
    }
  }

  /** Random documents of very different lengths. */
  @Test
  public void anyNumberOfWorkersWritesTheSame() throws Exception {
    Random random = Seeds.random(PreprocessorTest.class);
    Tokenizer gpt2 = Tokenizers.of(TokenizerConfig.ofType("GPT2BPETokenizer"));
    ObjectMapper mapper = new ObjectMapper();
    try (Workspace space = new Workspace()) {
      List<Path> inputs = new ArrayList<>();
      List<String> texts = new ArrayList<>();
      for (int file = 0; file < 3; file++) {
        StringBuilder lines = new StringBuilder();
        for (int d = 0; d < 100; d++) {
          String text = text(random, random.nextInt(d % 50 == 0 ? 300_000 : 5000));
          texts.add(text);
          lines.append(mapper.writeValueAsString(Map.of("text", text))).append('\n');
        }
        inputs.add(
            space.write("f" + file + (file == 1 ? ".jsonl.gz" : ".jsonl"), lines.toString()));
      }
      byte[] bin = null;
      byte[] idx = null;
      for (int workers : new int[] {1, 2, 7}) {
        Progress all =
            Preprocessor.run(
                space.config(inputs, TextDocuments.FILE, List.of("text"), true, workers),
                gpt2,
                progress -> {});
        assertEquals(all.documents(), texts.size());
        if (bin == null) {
          bin = space.output("data_text_document.bin");
          idx = space.output("data_text_document.idx");
        }
        assertTrue(Arrays.equals(space.output("data_text_document.bin"), bin));
        assertTrue(Arrays.equals(space.output("data_text_document.idx"), idx));
      }
      List<List<int[]>> documents = space.documents("text");
      for (int d = 0; d < texts.size(); d++) {
        int[] tokens = gpt2.encode(texts.get(d));
        List<int[]> sequences = documents.get(d);
        assertEquals(sequences.size(), tokens.length == 0 ? 0 : 1);
        if (tokens.length > 0) {
          assertEquals(gpt2.decode(sequences.get(0)), texts.get(d) + "<|endoftext|>");
          assertEquals(sequences.get(0).length, tokens.length + 1);
        }
      }
    }
  }

  private static String text(Random random, int length) {
    StringBuilder text = new StringBuilder();
    while (text.length() < length) {
      if (random.nextInt(50) == 0) {
        text.appendCodePoint(0x1f300 + random.nextInt(300));
      } else {
        text.append((char) (random.nextInt(6) == 0 ? ' ' : 'a' + random.nextInt(26)));
      }
    }
    return text.toString();
  }

  @Test
  public void progressIsTold() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", "{\"text\": \"abc\"}\n".repeat(250));
      List<Progress> told = new ArrayList<>();
      PreprocessConfig config =
          new PreprocessConfig(
              List.of(input),
              TextDocuments.FILE,
              List.of("text"),
              true,
              2,
              space.prefix(),
              100,
              true);
      Progress all = Preprocessor.run(config, Workspace.bytes(), told::add);
      assertEquals(told.stream().map(Progress::documents).toList(), List.of(100L, 200L));
      assertEquals(told.get(1).bytes(), 200 * 16);
      assertEquals(told.get(1).tokens(), 200 * 4);
      assertEquals(all.bytes(), 250 * 16);
      assertTrue(all.documentsPerSecond() > 0 && all.megabytesPerSecond() > 0);
    }
  }

  /** The first document is not done before two reports have come: few long ones show progress. */
  @Test(timeOut = 60_000)
  public void longDocumentsAreReportedInBetween() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", "{\"text\": \"abc\"}\n".repeat(3));
      CountDownLatch reports = new CountDownLatch(2);
      List<Progress> told = new ArrayList<>();
      Tokenizer slow =
          new Waiting(Workspace.bytes()) {
            @Override
            void waitForIt() throws InterruptedException {
              reports.await();
            }
          };
      Progress all =
          Preprocessor.run(
              space.config(input),
              slow,
              progress -> {
                told.add(progress);
                reports.countDown();
              },
              TimeUnit.MILLISECONDS.toNanos(5));
      assertEquals(told.get(0).documents(), 0);
      assertTrue(told.get(1).seconds() > told.get(0).seconds());
      assertEquals(all.documents(), 3);
    }
  }

  /** A tokenizer whose work takes as long as it is told. */
  private abstract static class Waiting implements Tokenizer {
    private final Tokenizer tokenizer;

    Waiting(Tokenizer tokenizer) {
      this.tokenizer = tokenizer;
    }

    abstract void waitForIt() throws InterruptedException;

    @Override
    public int[] encode(String text) {
      try {
        waitForIt();
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
      return tokenizer.encode(text);
    }

    @Override
    public String decode(int[] tokens) {
      return tokenizer.decode(tokens);
    }

    @Override
    public int vocabSize() {
      return tokenizer.vocabSize();
    }

    @Override
    public int eod() {
      return tokenizer.eod();
    }

    @Override
    public int pad() {
      return tokenizer.pad();
    }

    @Override
    public Map<String, Object> identity() {
      return tokenizer.identity();
    }
  }

  /** A document beyond Jackson's default limits, and a line longer than any buffer. */
  @Test
  public void longTexts() throws Exception {
    try (Workspace space = new Workspace()) {
      String text = "0123456789".repeat(2_100_000);
      Path input = space.write("a.jsonl", "{\"text\": \"" + text + "\"}\n{\"text\": \"b\"}");
      Progress all = Workspace.run(space.config(input));
      assertEquals(all.tokens(), text.length() + 1 + 2);
      assertEquals(space.texts("text").get(1), "b$");
    }
  }
}
