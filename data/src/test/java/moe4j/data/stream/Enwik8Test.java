package moe4j.data.stream;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import moe4j.data.Part;
import moe4j.data.PartFiles;
import moe4j.data.stream.Enwik8.Expected;
import moe4j.data.stream.Enwik8.Timing;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.SkipException;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Copies of a small corpus, good and bad ones, and disks that take it or do not. */
public class Enwik8Test {
  static final SplitBytes SPLIT = new SplitBytes(180_000, 10_000, 10_000);
  static final URI NOWHERE = URI.create("http://127.0.0.1:1/enwik8.zip");
  static final Timing TIMING = new Timing(Duration.ofSeconds(20), Duration.ofSeconds(5));

  private final Random random = Seeds.random(Enwik8Test.class);
  private final List<String> log = new ArrayList<>();
  private byte[] corpus;
  private TempDir dir;
  private Path out;

  @BeforeMethod
  public void makeCorpus() throws IOException {
    log.clear();
    dir = new TempDir();
    out = dir.path("a/b");
    corpus = corpus(random);
  }

  @AfterMethod(alwaysRun = true)
  public void deleteDirectory() throws IOException {
    dir.close();
  }

  /** Compressible, as text is, and not too much, so that it takes several packets. */
  static byte[] corpus(Random random) {
    byte[] bytes = new byte[(int) SPLIT.sum()];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) (random.nextInt(20) == 0 ? '\n' : ' ' + random.nextInt(90));
    }
    return bytes;
  }

  static String md5(byte[] bytes) {
    var digest = Digests.md5();
    digest.update(bytes);
    return Digests.hex(digest);
  }

  static byte[] gz(byte[] bytes) throws IOException {
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    try (OutputStream gz = new GZIPOutputStream(packed)) {
      gz.write(bytes);
    }
    return packed.toByteArray();
  }

  static byte[] zip(String name, byte[] bytes) throws IOException {
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    try (ZipOutputStream zip = new ZipOutputStream(packed)) {
      if (name.contains("/")) {
        zip.putNextEntry(new ZipEntry(name.substring(0, name.indexOf('/') + 1)));
      }
      zip.putNextEntry(new ZipEntry(name));
      zip.write(bytes);
    }
    return packed.toByteArray();
  }

  private Enwik8 enwik8(UnaryOperator<WritableByteChannel> disk) {
    return new Enwik8(
        new Expected("enwik8", md5(corpus), SPLIT), List.of(NOWHERE), TIMING, disk, log::add);
  }

  private Enwik8 enwik8() {
    return enwik8(UnaryOperator.identity());
  }

  private Path write(String name, byte[] bytes) throws IOException {
    return Files.write(dir.path(name), bytes);
  }

  static void assertHolds(Path out, byte[] corpus) throws IOException {
    try (Stream<Path> files = Files.list(out)) {
      assertEquals(
          files.map(file -> file.getFileName().toString()).sorted().toList(),
          List.of("corpus.json", "test.bytes", "train.bytes", "valid.bytes"));
    }
    ByteCorpus read = ByteCorpus.open(out, ByteVocabulary.Kind.BYTES);
    assertEquals(read.stream(Part.TRAIN), Arrays.copyOf(corpus, 180_000));
    assertEquals(read.stream(Part.VALID), Arrays.copyOfRange(corpus, 180_000, 190_000));
    assertEquals(read.stream(Part.TEST), Arrays.copyOfRange(corpus, 190_000, 200_000));
  }

  @Test
  public void whatTheRealOneIs() {
    assertEquals(
        Enwik8.SOURCES.toString(),
        "[https://mattmahoney.net/dc/enwik8.zip, http://mattmahoney.net/dc/enwik8.zip]");
    assertEquals(Enwik8.EXPECTED.bytes(), 100_000_000);
    assertEquals(Enwik8.EXPECTED.md5(), "a1fa5ffddb56f4953e226637dabbb36a");
    assertEquals(Enwik8.EXPECTED.name(), "enwik8");
    assertEquals(SplitBytes.ENWIK8.train(), 90_000_000);
    assertEquals(SplitBytes.ENWIK8.valid(), 5_000_000);
    assertEquals(SplitBytes.ENWIK8.test(), 5_000_000);
  }

  /** The names say the contrary of what the files are. */
  @DataProvider
  public Object[][] copies() throws IOException {
    byte[] bytes = corpus(Seeds.random(Enwik8Test.class));
    return new Object[][] {
      {"copy.gz", bytes, bytes},
      {"copy.zip", gz(bytes), bytes},
      {"copy", zip("enwik8", bytes), bytes},
      {"copy.txt", zip("folder/other name", bytes), bytes},
    };
  }

  @Test(dataProvider = "copies")
  public void copiesAreTaken(String name, byte[] packed, byte[] bytes) throws IOException {
    corpus = bytes;
    Path file = write(name, packed);
    Enwik8.Prepared made = enwik8().prepare(out, file);
    assertHolds(out, corpus);
    assertFalse(made.wasThere());
    assertEquals(made.distinctBytes(), 91);
    assertEquals(made.upstreamSymbols(), 90);
    assertEquals(made.manifest().source(), file.toString());
    assertEquals(made.manifest().md5(), md5(corpus));
    assertEquals(made.manifest().split(), SPLIT);
    assertEquals(log, List.of("read " + file));
    assertEquals(Files.readAllBytes(file), packed);
  }

  /** A complete directory is checked, and nothing is read for it. */
  @Test
  public void aDirectoryThatIsThereIsChecked() throws IOException {
    enwik8().prepare(out, write("copy", corpus));
    log.clear();
    Enwik8.Prepared again = enwik8().prepare(out, null);
    assertTrue(again.wasThere());
    assertEquals(again.distinctBytes(), 91);
    assertEquals(again.upstreamSymbols(), 90);
    assertEquals(log, List.of());

    Path train = out.resolve("train.bytes");
    byte[] bytes = Files.readAllBytes(train);
    bytes[100]++;
    Files.write(train, bytes);
    assertTrue(refusal(enwik8(), null).startsWith("the parts in " + out + " have the md5 "));
    Files.delete(train);
    assertEquals(
        refusal(enwik8(), null), train + " cannot be read: there is no such file or directory");

    corpus[0]++;
    assertTrue(
        refusal(enwik8(), null)
            .startsWith(out + " holds another corpus, enwik8 of 200000 bytes with the md5 "));
  }

  /** Files without a manifest are no corpus, but may be somebody's. */
  @Test
  public void whatIsThereIsReplacedOnlyWhereThatIsAskedFor() throws IOException {
    Files.createDirectories(out);
    Path train = Files.write(out.resolve("train.bytes"), new byte[7]);
    Path copy = write("copy", corpus);
    String message =
        expectThrows(IllegalArgumentException.class, () -> enwik8().prepare(out, copy))
            .getMessage();
    assertTrue(message.startsWith("--out %s: %s (7 bytes, of ".formatted(out, train)), message);
    assertTrue(message.contains("--overwrite"), message);
    // Where the new one fails, the old one stays.
    Path bad = write("bad", new byte[10]);
    expectThrows(IOException.class, () -> enwik8().prepare(out, bad, true));
    assertEquals(Files.size(train), 7);
    enwik8().prepare(out, copy, true);
    assertHolds(out, corpus);
    // And so for a whole corpus, of other bytes.
    corpus = corpus(new Random(corpus[0]));
    expectThrows(IOException.class, () -> enwik8().prepare(out, null));
    enwik8().prepare(out, write("copy", corpus), true);
    assertHolds(out, corpus);
  }

  @Test
  public void whatAKilledRunLeftIsToldAndGoes() throws IOException {
    Files.createDirectories(out);
    Path left = Files.write(out.resolve("train.bytes.4711.part"), new byte[7]);
    log.clear();
    enwik8().prepare(out, write("copy", corpus));
    assertHolds(out, corpus);
    assertTrue(log.get(0).startsWith(left + " (7 bytes, of "), log.toString());
  }

  @DataProvider
  public Object[][] badCopies() throws IOException {
    byte[] bytes = corpus(Seeds.random(Enwik8Test.class));
    byte[] gz = gz(bytes);
    byte[] zip = zip("enwik8", bytes);
    byte[] brokenZip = zip.clone();
    Arrays.fill(brokenZip, zip.length / 2, zip.length / 2 + 1000, (byte) 0xff);
    byte[] brokenGz = gz.clone();
    brokenGz[gz.length - 6]++;
    byte[] other = bytes.clone();
    other[199_999]++;
    String another = " is not enwik8: it has ";
    return new Object[][] {
      {Arrays.copyOf(gz, gz.length / 2), " is cut off or no sound gz file: "},
      {Arrays.copyOf(gz, 5), " is cut off or no sound gz file: it ends at byte 5"},
      {brokenGz, " is cut off or no sound gz file: "},
      {Arrays.copyOf(zip, zip.length / 2), " is cut off or no sound zip file: "},
      {Arrays.copyOf(zip, 20), " is cut off or no sound zip file: "},
      {brokenZip, " is cut off or no sound zip file: "},
      {Arrays.copyOf(new byte[] {'P', 'K', 5, 6}, 22), "zip file: there is no file in it"},
      {Arrays.copyOf(bytes, 199_999), another + "199999 bytes with the md5 "},
      {Arrays.copyOf(bytes, 200_001), another + "200001 bytes with the md5 "},
      {Arrays.copyOf(bytes, 2_000_000), another + "2000000 bytes with the md5 "},
      {new byte[0], another + "0 bytes with the md5 d41d8cd98f00b204e9800998ecf8427e"},
      {other, another + "200000 bytes with the md5 " + md5(other) + ", enwik8 has 200000 bytes"},
      {
        gz(other),
        "any byte file works with pretrain-txl --data-file FILE --split-bytes TRAIN,VALID"
      },
      {zip("a", other), " with the md5 " + md5(bytes) + "; any byte file works"},
    };
  }

  @Test(dataProvider = "badCopies")
  public void badCopiesAreRefused(byte[] packed, String words) throws IOException {
    corpus = corpus(Seeds.random(Enwik8Test.class));
    Path file = write("copy", packed);
    String message = refusal(enwik8(), file);
    assertTrue(message.contains(words) && message.contains(file.toString()), message);
    assertEquals(dir.list(), List.of(file));
    assertFalse(Files.exists(dir.path("a")), "a directory that was not there before");
  }

  @Test
  public void filesThatCannotBeRead() throws IOException {
    Path nowhere = dir.path("nowhere");
    assertEquals(refusal(enwik8(), nowhere), "--file " + nowhere + ": there is no such file");
    Path folder = Files.createDirectories(dir.path("folder"));
    assertEquals(refusal(enwik8(), folder), "--file " + folder + " is no regular file");
    assertFalse(Files.exists(dir.path("a")));
  }

  @Test
  public void aFileInTheWay() throws IOException {
    Path copy = write("copy", corpus);
    Path file = write("a", new byte[] {1});
    assertTrue(refusal(enwik8(), copy).startsWith(out + " cannot be written: "));
    assertEquals(Files.readAllBytes(file), new byte[] {1});
    assertTrue(
        expectThrows(IOException.class, () -> enwik8().prepare(file, copy))
            .getMessage()
            .equals(file + " cannot be written: " + file + " exists and is no directory"));
    assertEquals(dir.list(), List.of(file, copy));
  }

  @Test
  public void aDirectoryWithoutPermission() throws IOException {
    Path copy = write("copy", corpus);
    Files.createDirectories(out);
    Files.setPosixFilePermissions(out, PosixFilePermissions.fromString("r-xr-xr-x"));
    try {
      if (Files.isWritable(out)) {
        throw new SkipException("permissions do not bind this user");
      }
      assertEquals(
          refusal(enwik8(), copy),
          out.resolve("train.bytes") + " cannot be written: permission denied");
    } finally {
      Files.setPosixFilePermissions(out, PosixFilePermissions.fromString("rwxr-xr-x"));
    }
  }

  /** Wherever the disk is full, be it in the manifest. */
  @Test
  public void aFullDiskLeavesNothing() throws IOException {
    Path copy = write("copy", gz(corpus));
    long room = random.nextInt(180_000);
    for (long left : new long[] {0, room, 180_000, 185_000, 199_999, 200_000, 200_100}) {
      long[] rest = {left};
      String message = refusal(enwik8(channel -> limited(channel, rest)), copy);
      String name = left < 180_000 ? "train" : left < 190_000 ? "valid" : "test";
      assertEquals(
          message,
          out.resolve(left < 200_000 ? name + ".bytes" : "corpus.json")
              + " cannot be written: No space left on device");
      assertEquals(dir.list(), List.of(copy), left + " bytes");
      assertFalse(Files.exists(dir.path("a")));
    }
    enwik8(channel -> limited(channel, new long[] {1_000_000})).prepare(out, copy);
    assertHolds(out, corpus);
  }

  /** A disk with so many bytes left. */
  private static WritableByteChannel limited(WritableByteChannel file, long[] left) {
    return new WritableByteChannel() {
      @Override
      public int write(ByteBuffer bytes) throws IOException {
        int room = (int) Math.min(left[0], bytes.remaining());
        if (room == 0) {
          throw new IOException("No space left on device");
        }
        int written = file.write(bytes.slice(bytes.position(), room));
        bytes.position(bytes.position() + written);
        left[0] -= written;
        return written;
      }

      @Override
      public boolean isOpen() {
        return file.isOpen();
      }

      @Override
      public void close() throws IOException {
        file.close();
      }
    };
  }

  /** The last of the moves fails: a directory is in the manifest's place. */
  @Test
  public void aFailedMoveTakesTheOthersBack() throws IOException {
    Path copy = write("copy", corpus);
    Enwik8 enwik8 =
        enwik8(
            channel -> {
              try {
                // In the way of test.bytes, whose directory is there by now.
                Files.createDirectories(out.resolve("test.bytes/child"));
              } catch (IOException e) {
                throw new IllegalStateException(e);
              }
              return channel;
            });
    assertTrue(
        refusal(enwik8, copy).startsWith(out.resolve("test.bytes") + " cannot be written: "));
    assertEquals(dir.list(), List.of(copy));
  }

  /** As an interrupt ends the process. */
  @Test
  public void anInterruptLeavesNothing() throws IOException {
    Path copy = write("copy", corpus);
    List<Path> during = new ArrayList<>();
    Enwik8 enwik8 =
        enwik8(
            channel ->
                new WritableByteChannel() {
                  @Override
                  public int write(ByteBuffer bytes) throws IOException {
                    channel.write(bytes);
                    during.addAll(dir.list());
                    PartFiles.deleteAll();
                    assertEquals(dir.list(), List.of(copy));
                    throw new IOException("interrupted");
                  }

                  @Override
                  public boolean isOpen() {
                    return channel.isOpen();
                  }

                  @Override
                  public void close() throws IOException {
                    channel.close();
                  }
                });
    refusal(enwik8, copy);
    assertEquals(during.size(), 4, during.toString());
    PartFiles.deleteAll();
    assertEquals(dir.list(), List.of(copy));
  }

  private String refusal(Enwik8 enwik8, Path file) {
    String message = expectThrows(IOException.class, () -> enwik8.prepare(out, file)).getMessage();
    assertEquals(message.lines().count(), 1, message);
    return message;
  }
}
