package moe4j.data.preprocess;

import static java.nio.charset.StandardCharsets.UTF_16BE;
import static java.nio.charset.StandardCharsets.UTF_16LE;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Inputs as people have them: with marks, compressed, without a last newline, or broken. */
public class ForeignInputTest {
  private static final String MARK = "\ufeff";

  private static String refusal(PreprocessConfig config) {
    return expectThrows(IOException.class, () -> Workspace.run(config)).getMessage();
  }

  @DataProvider
  public Object[][] names() {
    return new Object[][] {{"a.jsonl"}, {"a.json.gz"}, {"a.txt"}, {"a.txt.gz"}};
  }

  /** What the mark was dropped from in JSON had it kept in plain text. */
  @Test(dataProvider = "names")
  public void theByteOrderMarkIsNoText(String name) throws Exception {
    try (Workspace space = new Workspace()) {
      boolean json = name.startsWith("a.json");
      String text = json ? "{\"text\": \"caf\u00e9\"}" : "caf\u00e9";
      Workspace.run(space.config(space.write(name, MARK + text)));
      assertEquals(space.texts("text"), List.of("caf\u00e9$"));
      Workspace.run(
          space.config(
              List.of(space.write(name, MARK + text)),
              TextDocuments.PARAGRAPH,
              List.of("text"),
              true,
              1));
      assertEquals(space.texts("text"), List.of("caf\u00e9$"));
      for (String encoding : List.of("UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE")) {
        Path file = space.write(name, (MARK + text).getBytes(encoding));
        assertEquals(
            refusal(space.config(file)),
            "%s holds %s text, not UTF-8 text: convert it to UTF-8"
                .formatted(file, encoding.substring(0, 6)));
      }
    }
  }

  /** A mark in the midst of a text belongs to it. */
  @Test
  public void otherMarksStay() throws Exception {
    try (Workspace space = new Workspace()) {
      Workspace.run(space.config(space.write("a.txt", MARK + MARK + "a" + MARK)));
      assertEquals(space.texts("text"), List.of(MARK + "a" + MARK + "$"));
      for (String shortText : List.of("", MARK, "a", "\u00ef")) {
        Workspace.run(space.config(space.write("a.txt", shortText)));
        String left = shortText.equals(MARK) ? "" : shortText;
        assertEquals(space.texts("text"), left.isEmpty() ? List.of("") : List.of(left + "$"));
      }
    }
  }

  @Test
  public void compressedByAnotherNameIsNamed() throws Exception {
    try (Workspace space = new Workspace()) {
      ByteArrayOutputStream packed = new ByteArrayOutputStream();
      try (GZIPOutputStream out = new GZIPOutputStream(packed)) {
        out.write("text".getBytes(UTF_8));
      }
      Path gzip = space.write("a.jsonl", packed.toByteArray());
      assertEquals(
          refusal(space.config(gzip)),
          gzip + " holds gzip data, not UTF-8 text: give it a name that ends in .gz, or unpack it");
      Path zstd = space.write("a.jsonl.zst", new byte[] {0x28, (byte) 0xb5, 0x2f, (byte) 0xfd, 4});
      assertEquals(
          refusal(space.config(zstd)),
          zstd + " holds Zstandard data, not UTF-8 text: unpack it first");
      Path zip = space.write("a.zip", "PK\3\4....");
      assertTrue(refusal(space.config(zip)).startsWith(zip + " holds a zip archive, "));
    }
  }

  /** Before, the documents of the second member were gone, and the status was 0. */
  @Test
  public void damagedGzipIsRefusedByName() throws Exception {
    try (Workspace space = new Workspace()) {
      byte[] one = Files.readAllBytes(space.write("a.jsonl.gz", "{\"text\": \"one\"}\n"));
      byte[] two = Files.readAllBytes(space.write("b.jsonl.gz", "{\"text\": \"two\"}\n"));
      Path input = space.root.resolve("in/c.jsonl.gz");
      Files.write(input, join(one, two, new byte[512]));
      Workspace.run(space.config(input));
      assertEquals(space.texts("text"), List.of("one$", "two$"));
      Files.write(input, join(one, "x".getBytes(UTF_8), two));
      assertEquals(
          refusal(space.config(input)),
          "%s is cut off or no gzip file: its member 1 ends at byte %d, and byte %d after it does not begin another"
              .formatted(input, one.length, one.length));
      Files.write(input, join(one, two));
      Workspace.truncate(input, one.length + 5);
      assertEquals(
          refusal(space.config(input)),
          "%s is cut off or no gzip file: it ends at byte %d, within its member 2"
              .formatted(input, one.length + 5));
      assertEquals(space.texts("text"), List.of("one$", "two$"));
    }
  }

  @Test
  public void lastLinesWithoutAnEnd() throws Exception {
    try (Workspace space = new Workspace()) {
      Path json = space.write("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"}");
      Path text = space.write("b.txt", "c\n\nd");
      Workspace.run(
          space.config(List.of(json, text), TextDocuments.PARAGRAPH, List.of("text"), true, 1));
      assertEquals(space.texts("text"), List.of("a$", "b$", "c\n$", "d$"));
    }
  }

  /** A parser that refuses a nesting gives no place, and asking it for one gave a null pointer. */
  @Test
  public void jsonThatIsNestedTooDeep() throws Exception {
    try (Workspace space = new Workspace()) {
      String good = "{\"text\": \"a\"}\n";
      for (String key : List.of("text", "other")) {
        String deep = "{\"%s\": %s%s}".formatted(key, "[".repeat(1500), "]".repeat(1500));
        Path input = space.write("a.jsonl", good.repeat(2) + deep + "\n" + good);
        String message = refusal(space.config(input));
        if (key.equals("other")) {
          assertTrue(
              message.startsWith(
                  input
                      + " line 3 is no JSON at column 1011: its objects and lists are nested too"),
              message);
          assertTrue(!message.contains("StreamReadConstraints"), message);
        } else {
          assertTrue(message.startsWith(input + " line 3: key 'text' holds neither"), message);
        }
      }
    }
  }

  private static byte[] join(byte[]... parts) throws IOException {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    for (byte[] part : parts) {
      all.write(part);
    }
    return all.toByteArray();
  }

  /** UTF-16 without a mark is no UTF-8 text either. */
  @Test
  public void utf16WithoutAMark() throws Exception {
    try (Workspace space = new Workspace()) {
      Path little = space.write("a.txt", "caf\u00e9".getBytes(UTF_16LE));
      assertEquals(refusal(space.config(little)), little + " is no UTF-8 text");
      Path json = space.write("a.jsonl", "{\"text\": \"a\"}\n".getBytes(UTF_16BE));
      assertEquals(refusal(space.config(json)), json + " line 1 is no UTF-8 text");
    }
  }
}
