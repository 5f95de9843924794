package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** A mapped file that loses its end while it is read. */
public class CutFileTest {
  private static final int TOKENS = 20_000;

  private Path directory;
  private Path prefix;

  @BeforeMethod
  public void write() throws IOException {
    directory = Files.createTempDirectory("cut");
    prefix = directory.resolve("text");
    int[] tokens = new int[TOKENS];
    Arrays.fill(tokens, 7);
    try (IndexedDatasetWriter writer = IndexedDatasetWriter.create(prefix, DType.forVocab(100))) {
      writer.addSequence(tokens, 0, TOKENS);
      writer.endDocument();
      writer.finish();
    }
  }

  @AfterMethod
  public void delete() throws IOException {
    for (String suffix : new String[] {".bin", ".idx", ".new"}) {
      Files.deleteIfExists(Path.of(prefix + suffix));
    }
    Files.delete(directory);
  }

  private void cut(String suffix, long size) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(prefix + suffix, "rw")) {
      file.setLength(size);
    }
  }

  private static String refusal(IndexedDataset data, int offset) {
    long[] longs = new long[10];
    int[] ints = new int[10];
    String message =
        expectThrows(UncheckedIOException.class, () -> data.get(0, offset, 10, longs, 0))
            .getMessage();
    assertEquals(
        expectThrows(UncheckedIOException.class, () -> data.get(0, offset, 10, ints, 0))
            .getMessage(),
        message);
    return message;
  }

  /** Whether the page is gone or its rest reads as zeros: the file and its sizes are told. */
  @Test
  public void aCutBinIsNamed() throws IOException {
    IndexedDataset data = IndexedDataset.open(prefix);
    long size = 2L * TOKENS;
    long[] before = new long[TOKENS];
    data.get(0, 0, TOKENS, before, 0);
    cut(".bin", 10_001);
    String sentence =
        "%s.bin was cut while it was in use: it has 10001 bytes and had %d".formatted(prefix, size);
    assertEquals(refusal(data, 5_100), sentence, "behind the end, in its page");
    assertEquals(refusal(data, TOKENS - 10), sentence, "a page that is gone");
    cut(".bin", 0);
    assertEquals(
        refusal(data, 0),
        "%s.bin was cut while it was in use: it has 0 bytes and had %d".formatted(prefix, size));
  }

  @Test
  public void aCutIndexIsNamed() throws IOException {
    IndexedDataset data = IndexedDataset.open(prefix);
    long size = Files.size(Path.of(prefix + ".idx"));
    cut(".idx", 0);
    assertEquals(
        refusal(data, 0),
        "%s.idx was cut while it was in use: it has 0 bytes and had %d".formatted(prefix, size));
  }

  /** What is mapped stays where another file takes the name. */
  @Test
  public void anotherFileInItsPlaceIsNoHarm() throws IOException {
    IndexedDataset data = IndexedDataset.open(prefix);
    Path other = Files.write(Path.of(prefix + ".new"), new byte[3]);
    Files.move(other, Path.of(prefix + ".bin"), StandardCopyOption.REPLACE_EXISTING);
    int[] read = new int[2];
    data.get(0, TOKENS - 2, 2, read, 0);
    assertEquals(read, new int[] {7, 7});
  }

  /** A reader's thread may be interrupted, and others go on. */
  @Test
  public void anInterruptClosesNothing() throws IOException {
    IndexedDataset data = IndexedDataset.open(prefix);
    long[] read = new long[1];
    Thread.currentThread().interrupt();
    try {
      data.get(0, 3, 1, read, 0);
    } finally {
      Thread.interrupted();
    }
    assertEquals(read[0], 7);
    data.get(0, 4, 1, read, 0);
  }
}
