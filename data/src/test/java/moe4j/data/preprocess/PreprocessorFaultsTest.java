package moe4j.data.preprocess;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import moe4j.tokenizer.Tokenizer;
import moe4j.tokenizer.TokenizerConfig;
import moe4j.tokenizer.Tokenizers;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class PreprocessorFaultsTest {
  private static final String GOOD = "{\"text\": \"good\"}\n";

  @DataProvider
  public Object[][] badLines() {
    return new Object[][] {
      {"{\"text\": \"cut", " is no JSON at column "},
      {"{\"text\": \"a\" \"b\"}", " is no JSON at column "},
      {"{\"text\": \"\\x\"}", " is no JSON at column "},
      {"[\"text\"]", " is no JSON object"},
      {"text", " is no JSON at column "},
      {"{\"text\": \"a\"} {\"text\": \"b\"}", " goes on after its JSON object"},
      {"{\"body\": \"a\"}", " has no key 'text'"},
      {"{\"text\": 7}", ": key 'text' holds neither a string nor a list of strings"},
      {"{\"text\": null}", ": key 'text' holds neither a string nor a list of strings"},
      {
        "{\"text\": {\"text\": \"a\"}}", ": key 'text' holds neither a string nor a list of strings"
      },
      {"{\"text\": [\"a\", 7]}", ": key 'text' holds neither a string nor a list of strings"},
    };
  }

  /** In the midst of thousands of good ones, older outputs being there. */
  @Test(dataProvider = "badLines")
  public void aBadLineIsNamed(String line, String reason) throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", GOOD.repeat(3));
      Workspace.run(space.config(input));
      byte[] before = space.output("data_text_document.bin");
      space.write("a.jsonl", GOOD.repeat(30_000) + "\n" + line + "\n" + GOOD.repeat(30_000));
      String message = refusal(space.config(input));
      assertTrue(message.startsWith(input + " line 30002" + reason), message);
      assertEquals(message.indexOf('\n'), -1);
      assertEquals(space.outputs(), List.of("data_text_document.bin", "data_text_document.idx"));
      assertEquals(space.output("data_text_document.bin"), before);
    }
  }

  @Test
  public void badUtf8IsNamed() throws Exception {
    byte[] latin1 = {'a', (byte) 0xe9, 'b'};
    try (Workspace space = new Workspace()) {
      Path text = space.write("a.txt", latin1);
      assertEquals(refusal(space.config(text)), text + " is no UTF-8 text");
      Path json =
          space.write("a.jsonl", new byte[] {'{', '"', 't', (byte) 0xe9, '"', ':', '1', '}'});
      assertTrue(refusal(space.config(json)).startsWith(json + " line 1 is no JSON at column "));
      assertEquals(space.outputs(), List.of());
      // A replacement character that the text itself holds is no fault.
      Workspace.run(space.config(space.write("b.txt", "\ufffd")));
      assertEquals(space.texts("text"), List.of("\ufffd$"));
    }
  }

  @Test
  public void truncatedGzip() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl.gz", GOOD.repeat(50_000));
      Workspace.truncate(input, (int) Files.size(input) / 2);
      assertTrue(refusal(space.config(input)).startsWith(input + " is cut off or no gzip file: "));
      Path foreign = Files.write(space.root.resolve("in/b.txt.gz"), new byte[] {1, 2, 3, 4, 5, 6});
      assertTrue(
          refusal(space.config(foreign)).startsWith(foreign + " is cut off or no gzip file: "));
      assertEquals(space.outputs(), List.of());
    }
  }

  @Test
  public void missingInput() throws Exception {
    try (Workspace space = new Workspace()) {
      Path missing = space.root.resolve("in/none.jsonl");
      assertEquals(
          refusal(space.config(missing)),
          "--input %s: there is no such file or directory".formatted(missing));
      Path empty = space.write("a.jsonl", "\n\n");
      assertEquals(refusal(space.config(empty)), "--input [%s] holds no document".formatted(empty));
      assertEquals(space.outputs(), List.of());
    }
  }

  @Test
  public void unwritableOutput() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", GOOD);
      Path inTheWay = Files.writeString(space.root.resolve("out"), "a file");
      String message = refusal(space.config(input));
      assertTrue(
          message.startsWith(
              "--output-prefix: %s_text_document.bin and .idx cannot be written: "
                  .formatted(space.prefix())),
          message);
      assertEquals(Files.readString(inTheWay), "a file");
    }
  }

  /** A directory stands where the second key's file would go. */
  @Test
  public void noKeyIsLeftHalfWritten() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", "{\"a\": \"x\", \"b\": \"y\"}\n");
      Files.createDirectories(space.root.resolve("out/data_b_document.bin.part"));
      PreprocessConfig config =
          space.config(List.of(input), TextDocuments.FILE, List.of("a", "b"), true, 1);
      assertTrue(refusal(config).contains("data_b_document.bin and .idx cannot be written: "));
      assertEquals(space.outputs(), List.of("data_b_document.bin.part"));
    }
  }

  @Test
  public void outputWithinTheInput() throws Exception {
    try (Workspace space = new Workspace()) {
      space.write("a.txt", "text");
      String message =
          expectThrows(
                  IllegalArgumentException.class, () -> Workspace.run(space.config(space.root)))
              .getMessage();
      assertTrue(message.startsWith("--output-prefix " + space.prefix() + " lies inside --input "));
    }
  }

  @Test
  public void plainTextHasNoKeys() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.txt", "text");
      PreprocessConfig config =
          space.config(List.of(input), TextDocuments.FILE, List.of("a", "b"), true, 1);
      assertEquals(
          expectThrows(IllegalArgumentException.class, () -> Workspace.run(config)).getMessage(),
          "--json-keys a b: %s is plain text, which has no keys".formatted(input));
    }
  }

  @Test
  public void textThatTheTokenizerRefuses() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", "{\"text\": \"1 2 3\"}\n{\"text\": \"4 100\"}\n");
      Tokenizer tokenizer =
          Tokenizers.of(new TokenizerConfig("NullTokenizer", null, null, null, 99, true));
      assertEquals(
          expectThrows(
                  IOException.class,
                  () -> Preprocessor.run(space.config(input), tokenizer, progress -> {}))
              .getMessage(),
          input + " line 2: token id 100 is outside the vocabulary, 0 to 99");
      assertEquals(space.outputs(), List.of());
    }
  }

  @Test(timeOut = 60_000)
  public void aFailingTokenizerIsReported() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", GOOD.repeat(40_000) + "{\"text\": \"bad\"}\n" + GOOD);
      String where = input + " line 40001: ";

      RuntimeException exception = new IndexOutOfBoundsException("oops");
      String thrown = failure(space, input, new Failing(exception, 0), IllegalStateException.class);
      assertEquals(
          thrown, where + "the tokenizer failed: java.lang.IndexOutOfBoundsException: oops");

      String foreign = failure(space, input, new Failing(null, 65536), IOException.class);
      assertEquals(
          foreign, where + "the tokenizer gave the id 65536, outside its vocabulary of 300");
      String negative = failure(space, input, new Failing(null, -1), IOException.class);
      assertEquals(negative, where + "the tokenizer gave the id -1, outside its vocabulary of 300");

      Error error = new OutOfMemoryError("made up");
      Error passedOn =
          expectThrows(
              OutOfMemoryError.class,
              () -> Preprocessor.run(space.config(input), new Failing(error, 0), progress -> {}));
      assertSame(passedOn, error);
      assertEquals(space.outputs(), List.of());
    }
  }

  @Test
  public void aFailingListenerLeavesNothing() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", GOOD.repeat(2000));
      expectThrows(
          IllegalStateException.class,
          () ->
              Preprocessor.run(
                  space.config(input),
                  Workspace.bytes(),
                  progress -> {
                    throw new IllegalStateException("listener");
                  }));
      assertEquals(space.outputs(), List.of());
    }
  }

  @Test
  public void endsOfDocumentsNeedAnId() throws Exception {
    try (Workspace space = new Workspace()) {
      Path input = space.write("a.jsonl", GOOD);
      Tokenizer without = new Failing(null, 0);
      PreprocessConfig withEod = space.config(input);
      assertEquals(
          expectThrows(
                  IllegalArgumentException.class,
                  () ->
                      Preprocessor.run(
                          withEod,
                          new Failing(null, 0) {
                            @Override
                            public int eod() {
                              return -1;
                            }
                          },
                          progress -> {}))
              .getMessage(),
          "--append-eod: the tokenizer has no end of document: " + without.identity());
    }
  }

  @Test
  public void flagsThatMakeNoSense() throws Exception {
    try (Workspace space = new Workspace()) {
      List<Path> input = List.of(space.root);
      List<String> text = List.of("text");
      assertEquals(flag(List.of(), text, 1, 1, space.prefix()), "--input is missing");
      assertEquals(
          flag(input, List.of("a", "a"), 1, 1, space.prefix()),
          "--json-keys must be one or more different keys, but is [a, a]");
      assertEquals(
          flag(input, text, 0, 1, space.prefix()), "--workers must be at least 1, but is 0");
      assertEquals(
          flag(input, text, 1, 0, space.prefix()), "--log-interval must be at least 1, but is 0");
      assertEquals(flag(input, text, 1, 1, null), "--output-prefix is missing");
    }
  }

  private static String flag(
      List<Path> inputs, List<String> keys, int workers, int interval, Path prefix) {
    return expectThrows(
            IllegalArgumentException.class,
            () ->
                new PreprocessConfig(
                    inputs, TextDocuments.FILE, keys, true, workers, prefix, interval, false))
        .getMessage();
  }

  private static String refusal(PreprocessConfig config) {
    return expectThrows(IOException.class, () -> Workspace.run(config)).getMessage();
  }

  private static String failure(
      Workspace space, Path input, Tokenizer tokenizer, Class<? extends Throwable> type) {
    return expectThrows(
            type, () -> Preprocessor.run(space.config(input), tokenizer, progress -> {}))
        .getMessage();
  }

  /** Fails, or gives a foreign id, at the text "bad". */
  private static class Failing implements Tokenizer {
    private final Throwable failure;
    private final int id;

    Failing(Throwable failure, int id) {
      this.failure = failure;
      this.id = id;
    }

    @Override
    public int[] encode(String text) {
      if (text.equals("bad")) {
        if (failure instanceof Error error) {
          throw error;
        }
        if (failure instanceof RuntimeException exception) {
          throw exception;
        }
        return new int[] {id};
      }
      return new int[] {1, 2};
    }

    @Override
    public String decode(int[] tokens) {
      return "";
    }

    @Override
    public int vocabSize() {
      return 300;
    }

    @Override
    public int eod() {
      return 3;
    }

    @Override
    public int pad() {
      return -1;
    }

    @Override
    public Map<String, Object> identity() {
      return Map.of("class", "Failing");
    }
  }
}
