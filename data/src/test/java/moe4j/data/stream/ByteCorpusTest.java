package moe4j.data.stream;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import moe4j.data.Part;
import moe4j.data.stream.ByteVocabulary.Kind;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.Assert.ThrowingRunnable;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class ByteCorpusTest {
  private final Random random = Seeds.random(ByteCorpusTest.class);
  private TempDir dir;

  @BeforeMethod
  public void makeDirectory() throws IOException {
    dir = new TempDir();
  }

  @AfterMethod(alwaysRun = true)
  public void deleteDirectory() throws IOException {
    dir.close();
  }

  private Path write(String name, String text) throws IOException {
    return Files.write(dir.path(name), text.getBytes(ISO_8859_1));
  }

  /** A directory as {@code data enwik8} makes it, of other bytes. */
  private Path directory(byte[] bytes, SplitBytes split) throws IOException {
    Path directory = Files.createDirectories(dir.path("corpus"));
    int at = 0;
    for (Part part : Part.values()) {
      int end = at + (int) split.of(part);
      Files.write(directory.resolve(part.label() + ".bytes"), Arrays.copyOfRange(bytes, at, end));
      at = end;
    }
    String json =
        "{\"formatVersion\": 1, \"name\": \"small\", \"source\": \"here\", \"md5\": \"%s\","
            + " \"later\": 7, \"bytes\": {\"train\": %d, \"valid\": %d, \"test\": %d}}";
    Files.writeString(
        directory.resolve("corpus.json"),
        json.formatted(
            Enwik8Test.md5(Arrays.copyOf(bytes, at)), split.train(), split.valid(), split.test()));
    return directory;
  }

  private byte[] text(int length) {
    byte[] bytes = new byte[length];
    for (int i = 0; i < length; i++) {
      bytes[i] = (byte) (random.nextInt(8) == 0 ? '\n' : 150 + random.nextInt(100));
    }
    return bytes;
  }

  private static byte[] withoutNewlines(byte[] bytes) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    for (byte b : bytes) {
      if (b != '\n') {
        out.write(b);
      }
    }
    return out.toByteArray();
  }

  @Test
  public void upstreamByHand() throws IOException {
    Path file = write("text", "aab\nca\nbb\nrest");
    ByteCorpus corpus = ByteCorpus.open(file, new SplitBytes(4, 3, 2), Kind.UPSTREAM);
    // a and b three times, c once; "rest" is behind the split.
    assertEquals(new String(corpus.vocabulary().symbols(), ISO_8859_1), "abc");
    assertEquals(corpus.stream(Part.TRAIN), new byte[] {0, 0, 1});
    assertEquals(corpus.stream(Part.VALID), new byte[] {2, 0});
    assertEquals(corpus.stream(Part.TEST), new byte[] {1, 1});
    assertEquals(corpus.distinctBytes(), 4);
    assertEquals(corpus.source(), file.toString());
    assertEquals(corpus.segments(Part.TRAIN, 1, 2, 0, 1).get(0).labels(), new long[] {0, 1});
  }

  /** Longer than the pieces it is read in, parts beginning anywhere; a directory has the same. */
  @Test
  public void streamsAreTheFiles() throws IOException {
    byte[] bytes = text(3_500_000);
    SplitBytes split =
        new SplitBytes(
            2_000_000 + random.nextInt(300_000),
            1_000_000 + random.nextInt(100_000),
            random.nextInt(100_000));
    Path file = Files.write(dir.path("file"), bytes);
    Path directory = directory(bytes, split);
    for (Kind kind : Kind.values()) {
      ByteCorpus corpus = ByteCorpus.open(file, split, kind);
      ByteCorpus same = ByteCorpus.open(directory, kind);
      assertEquals(same.identity(), corpus.identity());
      assertEquals(same.vocabulary().identity(), corpus.vocabulary().identity());
      int at = 0;
      for (Part part : Part.values()) {
        byte[] expected = Arrays.copyOfRange(bytes, at, at += (int) split.of(part));
        assertEquals(
            corpus.vocabulary().decode(corpus.stream(part)),
            kind == Kind.BYTES ? expected : withoutNewlines(expected),
            part + " of " + split);
        assertEquals(same.stream(part), corpus.stream(part));
      }
      assertEquals(corpus.distinctBytes(), 101);
      assertEquals(corpus.vocabulary().size(), kind == Kind.BYTES ? 256 : 100);
    }
  }

  @Test
  public void partsMayBeEmpty() throws IOException {
    Path file = write("text", "ab");
    ByteCorpus corpus = ByteCorpus.open(file, new SplitBytes(2, 0, 0), Kind.BYTES);
    assertEquals(corpus.stream(Part.TRAIN), new byte[] {'a', 'b'});
    assertEquals(corpus.stream(Part.VALID), new byte[0]);
    assertEquals(corpus.stream(Part.TEST), new byte[0]);
    assertTrue(
        expectThrows(IllegalArgumentException.class, () -> corpus.segments(Part.VALID, 1, 1, 0, 1))
            .getMessage()
            .startsWith("the valid data is too short: 0 symbols"));
  }

  @Test
  public void identityIsThatOfTheBytesAndTheirSplit() throws IOException {
    Path file = write("text", "abcdef");
    String identity = identity(file, "3,2,1");
    assertEquals(identity(write("other name", "abcdefg"), "3,2,1"), identity);
    assertNotEquals(identity(file, "2,2,2"), identity);
    assertNotEquals(identity(file, "3,2,0"), identity);
    assertNotEquals(identity(write("other", "abcdeg"), "3,2,1"), identity);
  }

  private static String identity(Path file, String split) throws IOException {
    return ByteCorpus.open(file, SplitBytes.parse(split), Kind.BYTES).identity();
  }

  @DataProvider
  public Object[][] splits() {
    return new Object[][] {
      {
        "90,5",
        "--split-bytes takes three sizes in bytes as TRAIN,VALID,TEST, such as 90000000,5000"
      },
      {"a,b,c", "not 'a,b,c'"},
      {"1,-1,1", "not '1,-1,1'"},
      {"1,1,1,1", "not '1,1,1,1'"},
      {"1e6,1,1", "not '1e6,1,1'"},
      {"99999999999999999999,1,1", "not '99999999999999999999,1,1'"},
      {"0,5,5", "--split-bytes 0,5,5: TRAIN is to be positive"},
      {
        "5,2147483640,5", "--split-bytes 5,2147483640,5: a part is held in memory and has at most 2"
      },
      {"5,3,3", "--split-bytes 5,3,3 asks for 11 bytes, but "},
      {"2147483639,2147483639,2147483639", "asks for 6442450917 bytes, but "},
    };
  }

  @Test(dataProvider = "splits")
  public void splitsAreRefused(String split, String words) throws IOException {
    Path file = write("text", "0123456789");
    String message =
        expectThrows(
                IllegalArgumentException.class,
                () -> ByteCorpus.open(file, SplitBytes.parse(split), Kind.BYTES))
            .getMessage();
    assertTrue(message.contains(words) && message.lines().count() == 1, message);
    if (words.endsWith("but ")) {
      assertTrue(message.endsWith(file + " has 10"), message);
    }
  }

  @Test
  public void filesAreRefused() throws IOException {
    SplitBytes split = new SplitBytes(1, 1, 1);
    Path nowhere = dir.path("nowhere");
    assertEquals(
        refusal(() -> ByteCorpus.open(nowhere, split, Kind.BYTES)),
        "--data-file " + nowhere + ": there is no such file");
    assertEquals(
        refusal(() -> ByteCorpus.open(dir.path("."), split, Kind.BYTES)),
        "--data-file " + dir.path(".") + " is a directory");
    Path newlines = write("newlines", "\n\n\n");
    assertEquals(
        refusal(() -> ByteCorpus.open(newlines, split, Kind.UPSTREAM)),
        newlines + " has nothing but newlines, which the vocabulary upstream leaves out");
    assertEquals(ByteCorpus.open(newlines, split, Kind.BYTES).stream(Part.TEST).length, 1);
  }

  @Test
  public void directoriesAreRefused() throws IOException {
    Path empty = Files.createDirectories(dir.path("empty"));
    assertTrue(
        refusal(() -> ByteCorpus.open(empty, Kind.BYTES))
            .startsWith(
                "--data " + empty + " holds no byte corpus: there is no corpus.json in it"));
    Path file = write("file", "text");
    assertTrue(
        refusal(() -> ByteCorpus.open(file, Kind.BYTES))
            .startsWith(file.resolve("corpus.json") + " cannot be read"));

    Path corpus = directory(text(100), new SplitBytes(70, 20, 10));
    Path json = corpus.resolve("corpus.json");
    String good = Files.readString(json);
    ByteCorpus.open(corpus, Kind.BYTES);
    for (String bad :
        new String[] {
          "",
          "{",
          "[]",
          "null",
          good + "}",
          good.replace("\"train\": 70, ", ""),
          good.replace("70", "-70"),
          good.replace("name", "nom"),
        }) {
      Files.writeString(json, bad);
      assertEquals(
          refusal(() -> ByteCorpus.open(corpus, Kind.BYTES)),
          json + " is not what moe4j data writes",
          bad);
    }
    Files.writeString(json, good.replace("Version\": 1", "Version\": 2"));
    assertEquals(
        refusal(() -> ByteCorpus.open(corpus, Kind.BYTES)),
        json + " has format version 2, and this version of moe4j reads version 1");

    Files.writeString(json, good);
    Path valid = corpus.resolve("valid.bytes");
    byte[] bytes = Files.readAllBytes(valid);
    bytes[7]++;
    Files.write(valid, bytes);
    String message = refusal(() -> ByteCorpus.open(corpus, Kind.BYTES));
    assertTrue(message.startsWith("the parts in " + corpus + " have the md5 "), message);
    Files.write(valid, Arrays.copyOf(bytes, 19));
    assertEquals(
        refusal(() -> ByteCorpus.open(corpus, Kind.BYTES)),
        valid + " has 19 bytes, but " + json + " says 20: delete the directory and make it again");
    Files.delete(valid);
    assertEquals(
        refusal(() -> ByteCorpus.open(corpus, Kind.BYTES)),
        valid + " cannot be read: there is no such file or directory");
  }

  private static String refusal(ThrowingRunnable body) {
    String message = expectThrows(IOException.class, body).getMessage();
    assertEquals(message.lines().count(), 1, message);
    return message;
  }
}
