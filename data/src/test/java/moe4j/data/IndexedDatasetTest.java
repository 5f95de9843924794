package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class IndexedDatasetTest {
  @DataProvider
  public Object[][] dtypes() {
    return Arrays.stream(DType.values()).map(d -> new Object[] {d}).toArray(Object[][]::new);
  }

  /** Documents of sequences of tokens within the dtype's range, ends of the range among them. */
  private static List<List<int[]>> corpus(Random random, DType dtype) {
    long min = Math.max(dtype.min, Integer.MIN_VALUE);
    long max = Math.min(dtype.max, Integer.MAX_VALUE);
    List<List<int[]>> documents = new ArrayList<>();
    for (int d = random.nextInt(20); d > 0; d--) {
      List<int[]> document = new ArrayList<>();
      for (int s = random.nextInt(4); s > 0; s--) {
        int[] tokens = new int[random.nextInt(30)];
        for (int i = 0; i < tokens.length; i++) {
          long token = min + (long) (random.nextDouble() * (max - min + 1));
          tokens[i] = (int) (random.nextInt(10) == 0 ? (random.nextBoolean() ? min : max) : token);
        }
        document.add(tokens);
      }
      documents.add(document);
    }
    return documents;
  }

  static void write(Path prefix, DType dtype, List<List<int[]>> documents) throws IOException {
    try (IndexedDatasetWriter writer = IndexedDatasetWriter.replace(prefix, dtype, note -> {})) {
      for (List<int[]> document : documents) {
        for (int[] tokens : document) {
          writer.addSequence(tokens, 0, tokens.length);
        }
        writer.endDocument();
      }
      writer.finish();
    }
  }

  @Test(dataProvider = "dtypes")
  public void readsWhatWasWritten(DType dtype) throws IOException {
    Random random = Seeds.random(IndexedDatasetTest.class);
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("corpus");
      for (int trial = 0; trial < 20; trial++) {
        List<List<int[]>> documents = corpus(random, dtype);
        write(prefix, dtype, documents);
        // Chunks of 1 to 64 bytes: every kind of value lies across two of them somewhere.
        IndexedDataset dataset = IndexedDataset.open(prefix, random.nextInt(7));
        assertEquals(dataset.dtype(), dtype);
        assertEquals(dataset.documents(), documents.size());
        int sequence = 0;
        long tokens = 0;
        for (int d = 0; d < documents.size(); d++) {
          assertEquals(dataset.firstSequence(d), sequence);
          for (int[] expected : documents.get(d)) {
            assertEquals(dataset.length(sequence), expected.length);
            int from = random.nextInt(expected.length + 1);
            int count = random.nextInt(expected.length - from + 1);
            int[] ints = new int[count + 3];
            dataset.get(sequence, from, count, ints, 2);
            long[] longs = new long[count + 3];
            dataset.get(sequence, from, count, longs, 2);
            for (int i = 0; i < count; i++) {
              assertEquals(ints[2 + i], expected[from + i]);
              assertEquals(longs[2 + i], expected[from + i]);
            }
            assertEquals(ints[count + 2], 0);
            assertEquals(
                dataset.where(sequence), prefix + ".bin, document " + d + ", sequence " + sequence);
            sequence++;
            tokens += expected.length;
          }
        }
        assertEquals(dataset.sequences(), sequence);
        assertEquals(dataset.firstSequence(dataset.documents()), sequence);
        assertEquals(dataset.tokens(), tokens);
      }
    }
  }

  /** Sparse files: three sequences of 2^30 + 1 tokens, of which some around each border are set. */
  @Test
  public void readsBeyondTwoGibibytes() throws IOException {
    int length = (1 << 30) + 1;
    try (TempDir dir = new TempDir()) {
      ByteBuffer idx = ByteBuffer.allocate(34 + 3 * 12 + 2 * 8).order(ByteOrder.LITTLE_ENDIAN);
      idx.put(IndexedDatasetWriter.MAGIC).putLong(1).put((byte) DType.U16.code);
      idx.putLong(3).putLong(2);
      for (int s = 0; s < 3; s++) {
        idx.putInt(length);
      }
      for (int s = 0; s < 3; s++) {
        idx.putLong(2L * s * length);
      }
      idx.putLong(0).putLong(3);
      Files.write(dir.path("corpus.idx"), idx.array());
      try (RandomAccessFile bin = new RandomAccessFile(dir.path("corpus.bin").toFile(), "rw")) {
        bin.setLength(6L * length);
        for (int s = 0; s < 3; s++) {
          for (int at : new int[] {0, length / 2 - s, length - 1}) {
            bin.seek(2 * ((long) s * length + at));
            bin.write(new byte[] {(byte) (10 * s + 1), (byte) s});
          }
        }
      }
      IndexedDataset dataset = IndexedDataset.open(dir.path("corpus"));
      assertEquals(dataset.tokens(), 3L * length);
      for (int s = 0; s < 3; s++) {
        int token = 256 * s + 10 * s + 1;
        int[] ends = new int[2];
        dataset.get(s, 0, 2, ends, 0);
        assertEquals(ends, new int[] {token, 0});
        dataset.get(s, length - 2, 2, ends, 0);
        assertEquals(ends, new int[] {0, token});
        int[] middle = new int[5];
        dataset.get(s, length / 2 - s - 2, 5, middle, 0);
        assertEquals(middle, new int[] {0, 0, token, 0, 0});
      }
    }
  }

  @Test
  public void refusesEveryTruncation() throws IOException {
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("corpus");
      write(prefix, DType.U16, List.of(List.of(new int[] {1, 2, 3}), List.of(new int[] {4, 5})));
      Path idxPath = dir.path("corpus.idx");
      Path binPath = dir.path("corpus.bin");
      byte[] idx = Files.readAllBytes(idxPath);
      byte[] bin = Files.readAllBytes(binPath);
      for (int size = 0; size < idx.length; size++) {
        Files.write(idxPath, Arrays.copyOf(idx, size));
        assertSentence(prefix, idxPath + " ", "");
      }
      Files.write(idxPath, idx);
      for (int size = 0; size < bin.length; size++) {
        Files.write(binPath, Arrays.copyOf(bin, size));
        assertSentence(prefix, binPath + " has " + size + " bytes", " at byte ");
      }
      Files.write(binPath, bin);
      Files.write(idxPath, Arrays.copyOf(idx, idx.length + 2));
      assertEquals(IndexedDataset.open(prefix).tokens(), 5, "sequence_modes are skipped");
      Files.write(idxPath, Arrays.copyOf(idx, idx.length + 1));
      assertSentence(prefix, idxPath + " has 83 bytes", "need 82");
    }
  }

  @DataProvider
  public Object[][] damages() {
    // The golden index: lengths at 34, pointers at 42, document boundaries at 58.
    return new Object[][] {
      {0, 1, 'X', "does not begin with MMIDIDX"},
      {9, 8, 2, "version 2"},
      {17, 1, 9, "dtype code 9"},
      {17, 1, 4, ".bin has 10 bytes, but the index puts sequence 0, 3 tokens of int32, at byte 0"},
      {18, 8, -1, "counts 18446744073709551615 sequences"},
      {18, 8, 1, "has 82 bytes, but 1 sequences in 2 documents need 70"},
      {26, 8, 0, "counts 0 document boundaries"},
      {26, 8, 1L << 31, "counts 2147483648 document boundaries"},
      {34, 4, -1, "sequence 0 the length -1"},
      {38, 4, 3, "puts sequence 1, 3 tokens of uint16, at byte 6"},
      {50, 8, -6, "sequence 1 the length 2 and the byte offset -6"},
      {50, 8, Long.MAX_VALUE, "at byte 9223372036854775807"},
      {58, 8, 1, "boundary 0 of 2 at sequence 1, but it must be at 0"},
      {66, 8, 3, "boundary 1 of 2 at sequence 3, but 0 to 2 are possible"},
      {66, 8, -1, "boundary 1 of 2 at sequence -1"},
      {74, 8, 1, "boundary 2 of 2 at sequence 1, but it must be at 2"},
    };
  }

  @Test(dataProvider = "damages")
  public void refusesDamage(int at, int bytes, long value, String said) throws IOException {
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("corpus");
      write(prefix, DType.U16, List.of(List.of(new int[] {1, 2, 3}), List.of(new int[] {4, 5})));
      byte[] idx = Files.readAllBytes(dir.path("corpus.idx"));
      byte[] little = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array();
      System.arraycopy(little, 0, idx, at, bytes);
      Files.write(dir.path("corpus.idx"), idx);
      assertSentence(prefix, prefix + ".", said);
    }
  }

  @Test
  public void namesMissingFiles() throws IOException {
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("corpus");
      assertSentence(prefix, "there is no file " + prefix + ".idx", "");
      write(prefix, DType.U16, List.of());
      assertEquals(IndexedDataset.open(prefix).documents(), 0);
      assertSentence(dir.path("corpus.bin"), "there is no file ", "named without .bin and .idx");
      Files.delete(dir.path("corpus.bin"));
      assertSentence(prefix, "there is no file " + prefix + ".bin", "");
    }
  }

  @Test
  public void refusesWhatIsNoToken() throws IOException {
    try (TempDir dir = new TempDir()) {
      Path prefix = dir.path("corpus");
      for (DType dtype : new DType[] {DType.F64, DType.I64}) {
        write(prefix, dtype, List.of(List.of(new int[] {7})));
        Files.write(
            dir.path("corpus.bin"),
            ByteBuffer.allocate(8)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(dtype == DType.F64 ? Double.doubleToLongBits(1.5) : 1L << 32)
                .array());
        IndexedDataset dataset = IndexedDataset.open(prefix);
        String message =
            expectThrows(UncheckedIOException.class, () -> dataset.get(0, 0, 1, new int[1], 0))
                .getMessage();
        assertTrue(message.startsWith(prefix + ".bin"), message);
        assertTrue(message.contains(dtype == DType.F64 ? "1.5" : "4294967296"), message);
      }
    }
  }

  private static void assertSentence(Path prefix, String start, String part) {
    String message =
        expectThrows(IOException.class, () -> IndexedDataset.open(prefix)).getMessage();
    assertTrue(message.startsWith(start), message);
    assertTrue(message.contains(part), message);
    assertTrue(message.indexOf('\n') < 0, message);
  }
}
