package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Arrays;
import java.util.Random;
import java.util.zip.GZIPOutputStream;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

/** A damaged file gives all that was in it or an exception: never silently less. */
public class GzipInputTest {
  private final Random random = Seeds.random(GzipInputTest.class);
  private final byte[] first = text(700);
  private final byte[] second = text(400);
  private final byte[] whole = join(first, second);
  private final byte[] firstMember = gzip(first);
  private final byte[] file = join(firstMember, gzip(second));

  private byte[] text(int length) {
    byte[] text = new byte[length];
    for (int i = 0; i < length; i++) {
      text[i] = (byte) ('a' + random.nextInt(4));
    }
    return text;
  }

  private static byte[] gzip(byte[] bytes) {
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    try (OutputStream out = new GZIPOutputStream(packed)) {
      out.write(bytes);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
    return packed.toByteArray();
  }

  private static byte[] join(byte[] a, byte[] b) {
    byte[] both = Arrays.copyOf(a, a.length + b.length);
    System.arraycopy(b, 0, both, a.length, b.length);
    return both;
  }

  private static byte[] read(byte[] packed) throws IOException {
    try (InputStream in = new GzipInput(new ByteArrayInputStream(packed))) {
      return in.readAllBytes();
    }
  }

  private static String refusal(byte[] packed) {
    return expectThrows(GzipInput.DamagedException.class, () -> read(packed)).getMessage();
  }

  @Test
  public void membersAndZerosAreRead() throws IOException {
    assertEquals(read(file), whole);
    assertEquals(read(join(file, new byte[1])), whole);
    assertEquals(read(join(file, new byte[70_000])), whole);
    assertEquals(read(join(join(gzip(new byte[0]), file), gzip(new byte[0]))), whole);
    // By single bytes, too.
    try (InputStream in = new GzipInput(new ByteArrayInputStream(file))) {
      for (byte expected : whole) {
        assertEquals(in.read(), expected);
      }
      assertEquals(in.read(), -1);
      assertEquals(in.read(), -1);
    }
  }

  /** Where the first member ends, a file is whole: nobody can know that there was a second. */
  @Test
  public void everyCutIsRefused() throws IOException {
    for (int length = 0; length < file.length; length++) {
      byte[] cut = Arrays.copyOf(file, length);
      if (length == firstMember.length) {
        assertEquals(read(cut), first);
      } else {
        assertEquals(
            refusal(cut),
            "it ends at byte %d, within its member %d"
                .formatted(length, length < firstMember.length ? 1 : 2));
      }
    }
  }

  @Test
  public void everyFlippedBitIsHarmlessOrRefused() throws IOException {
    int harmless = 0;
    for (int at = 0; at < file.length; at++) {
      for (int bit = 0; bit < 8; bit++) {
        byte[] flipped = file.clone();
        flipped[at] ^= (byte) (1 << bit);
        byte[] read;
        try {
          read = read(flipped);
        } catch (GzipInput.DamagedException refused) {
          continue;
        }
        assertEquals(read, whole, "byte %d bit %d".formatted(at, bit));
        harmless++;
      }
    }
    // Times, a level and the name of a system, in each of two headers.
    assertTrue(harmless > 0 && harmless < 2 * 8 * 8, harmless + " of them");
  }

  @Test
  public void whatStandsBehindIsRefused() {
    for (int zeros = 0; zeros < 3; zeros++) {
      for (byte[] garbage : new byte[][] {{'x'}, {(byte) 0xff, 0, 0}, text(5000)}) {
        assertEquals(
            refusal(join(join(file, new byte[zeros]), garbage)),
            "its member 2 ends at byte %d, and byte %d after it does not begin another"
                .formatted(file.length, file.length + zeros));
      }
    }
    // Zeros between two members are none of a file's forms.
    assertTrue(refusal(join(join(file, new byte[3]), file)).contains("does not begin another"));
    assertTrue(refusal(join(file, new byte[] {0x1f})).startsWith("it ends at byte "));
    assertTrue(refusal(join(file, new byte[] {0x1f, 0x1f})).startsWith("its member 3, "));
    assertTrue(refusal(new byte[] {'n', 'o'}).startsWith("its member 1, which begins at byte 0, "));
  }

  /** A disk that fails is no damaged file. */
  @Test
  public void aFailingFileSaysSoItself() {
    InputStream failing =
        new InputStream() {
          private int at;

          @Override
          public int read() throws IOException {
            if (at == file.length - 20) {
              throw new IOException("Input/output error");
            }
            return file[at++] & 0xff;
          }

          @Override
          public int read(byte[] bytes, int from, int length) throws IOException {
            bytes[from] = (byte) read();
            return 1;
          }
        };
    IOException failed =
        expectThrows(
            IOException.class,
            () -> {
              try (InputStream in = new GzipInput(failing)) {
                in.readAllBytes();
              }
            });
    assertEquals(failed.getMessage(), "Input/output error");
  }
}
