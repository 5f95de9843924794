package moe4j.data;

import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.TRUNCATE_EXISTING;
import static java.nio.file.StandardOpenOption.WRITE;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Random;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.Test;

public class NpyTest {
  @Test
  public void writesNumpysBytes() throws IOException {
    try (TempDir dir = new TempDir()) {
      Path path = dir.path("a.npy");
      write(path, new Npy.NpyArray(Npy.Type.I32, new int[] {1, -2, 3, 4}, 2, 2));
      byte[] bytes = Files.readAllBytes(path);
      assertEquals(bytes.length, 128 + 16);
      assertEquals(HexFormat.of().formatHex(bytes, 0, 10), "934e554d505901007600");
      assertEquals(
          new String(bytes, 10, 118, StandardCharsets.US_ASCII),
          "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2), }" + " ".repeat(58) + "\n");
      assertEquals(HexFormat.of().formatHex(bytes, 128, 144), "01000000feffffff0300000004000000");
      write(path, new Npy.NpyArray(Npy.Type.U32, new int[0], 0));
      assertEquals(
          new String(Files.readAllBytes(path), 10, 58, StandardCharsets.US_ASCII),
          "{'descr': '<u4', 'fortran_order': False, 'shape': (0,), } ");
    }
  }

  @Test
  public void readsWhatItWrote() throws IOException {
    Random random = Seeds.random(NpyTest.class);
    try (TempDir dir = new TempDir()) {
      Path path = dir.path("a.npy");
      // More than the buffer of 1 MiB.
      for (int n : new int[] {0, 1, 300_000 + random.nextInt(1000)}) {
        int[] ints = random.ints(n).toArray();
        write(path, new Npy.NpyArray(Npy.Type.U32, ints, n));
        assertEquals((int[]) Npy.read(path, Npy.Type.U32, n), ints);
        long[] longs = random.longs(n).toArray();
        write(path, new Npy.NpyArray(Npy.Type.I64, longs, n));
        assertEquals((long[]) Npy.read(path, Npy.Type.I64, n), longs);
        short[] shorts = new short[3 * n];
        for (int i = 0; i < shorts.length; i++) {
          shorts[i] = (short) random.nextInt();
        }
        write(path, new Npy.NpyArray(Npy.Type.I16, shorts, n, 3));
        assertEquals((short[]) Npy.read(path, Npy.Type.I16, n, 3), shorts);
        assertThrows(IOException.class, () -> Npy.read(path, Npy.Type.I16, n, 4));
        assertThrows(IOException.class, () -> Npy.read(path, Npy.Type.I32, n, 3));
      }
    }
  }

  @Test
  public void refusesEveryTruncation() throws IOException {
    try (TempDir dir = new TempDir()) {
      Path path = dir.path("a.npy");
      write(path, new Npy.NpyArray(Npy.Type.I32, new int[] {1, 2}, 2));
      byte[] bytes = Files.readAllBytes(path);
      for (int size = 0; size <= bytes.length + 1; size++) {
        Files.write(path, Arrays.copyOf(bytes, size));
        if (size != bytes.length) {
          assertThrows(IOException.class, () -> Npy.read(path, Npy.Type.I32, 2));
        }
      }
    }
  }

  private static void write(Path path, Npy.NpyArray array) throws IOException {
    try (FileChannel file = FileChannel.open(path, CREATE, WRITE, TRUNCATE_EXISTING)) {
      Npy.write(file, array);
    }
  }
}
