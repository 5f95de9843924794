package moe4j.kernels.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

/** Which parts of the slots are streamed, and which are left. */
public class SlotTableTest {
  private static final long BOTH_BF16 = SlotTable.PARAMETER_BF16 | SlotTable.GRADIENT_BF16;

  private static final long[] ADDRESSES = {1024, 2048, 4096, 8192, 16384};

  private static long[] table(long[]... slots) {
    return Arrays.stream(slots).flatMapToLong(Arrays::stream).toArray();
  }

  private static long[] slot(long size, long types) {
    long[] slot = new long[SlotTable.WORDS];
    System.arraycopy(ADDRESSES, 0, slot, 0, ADDRESSES.length);
    slot[SlotTable.SIZE] = size;
    slot[SlotTable.TYPES] = types;
    return slot;
  }

  private static long[] with(long[] slot, int word, long value) {
    long[] other = slot.clone();
    other[word] = value;
    return other;
  }

  @Test
  public void whatCannotBeCopiedInPiecesIsNotStreamed() {
    long[] whole = slot(5000, BOTH_BF16);
    for (int word = 0; word < SlotTable.SIZE; word++) {
      assertNotStreamed(with(whole, word, ADDRESSES[word] + 8));
    }
    assertNotStreamed(with(whole, SlotTable.SCALES, 4));
    assertNotStreamed(with(whole, SlotTable.SCALES + 1, 4));
    assertNotStreamed(with(whole, SlotTable.GRADIENT, 0));
    assertNotStreamed(with(whole, SlotTable.SIZE, SlotTable.PIECE - 1));
    long[] table = whole.clone();
    SlotTable.mark(table, kind -> true);
    assertEquals(SlotTable.types(table), List.of(BOTH_BF16 | SlotTable.STREAMED));
    // What was said of other addresses is forgotten.
    assertNotStreamed(with(table, 0, 1025));
    SlotTable.mark(table, kind -> kind != BOTH_BF16);
    assertEquals(SlotTable.types(table), List.of(BOTH_BF16));
  }

  private static void assertNotStreamed(long[] table) {
    SlotTable.mark(table, kind -> true);
    assertEquals(SlotTable.types(table), List.of(BOTH_BF16), Arrays.toString(table));
    assertEquals(SlotTable.runs(table), Map.of());
  }

  /** Every element is in one piece or behind the pieces in one chunk. */
  @Test
  public void everythingIsUpdatedOnce() {
    Random random = Seeds.random(SlotTableTest.class);
    long[][] slots = new long[40][];
    for (int i = 0; i < slots.length; i++) {
      long size = 1L + random.nextInt(i % 3 == 0 ? 3 * SlotTable.PIECE : 4 * SlotTable.CHUNK);
      size = i % 4 == 0 ? (size + SlotTable.PIECE) / SlotTable.PIECE * SlotTable.PIECE : size;
      slots[i] = slot(size, i % 5);
      slots[i] = i % 7 == 0 ? with(slots[i], 1, 7) : slots[i];
    }
    long[] table = table(slots);
    SlotTable.mark(table, kind -> kind != 4);
    long[] pieces = new long[slots.length];
    for (var run : SlotTable.runs(table).entrySet()) {
      long[] entries = run.getValue();
      long sum = 0;
      for (int i = 1; i < entries.length; i += 2) {
        int slot = (int) entries[i];
        assertEquals(slots[slot][SlotTable.TYPES], (long) run.getKey());
        pieces[slot] += entries[i + 1];
        sum += entries[i + 1];
      }
      assertEquals(entries[0], sum);
    }
    long[] rests = SlotTable.rests(table);
    assertEquals(rests[0], rests.length - 1);
    long[] left = new long[slots.length];
    for (int i = 1; i < rests.length; i++) {
      int slot = (int) (rests[i] >> 32);
      long chunk = rests[i] & 0xffffffffL;
      long start = chunk * SlotTable.CHUNK;
      long size = slots[slot][SlotTable.SIZE];
      long end = Math.min(size, start + SlotTable.CHUNK);
      // As in adamw.cu: behind streamed pieces the last chunk begins with some of them.
      left[slot] += pieces[slot] > 0 ? (end - start) % SlotTable.PIECE : end - start;
    }
    boolean some = false;
    for (int i = 0; i < slots.length; i++) {
      assertEquals(
          pieces[i] * SlotTable.PIECE + left[i], slots[i][SlotTable.SIZE], "elements of slot " + i);
      some |= pieces[i] > 0 && left[i] > 0;
    }
    assertTrue(some, "a slot has both");
  }

  @Test
  public void sourcesSayTheSame() throws IOException {
    for (String[] line :
        new String[][] {
          {"adamw.cuh", "#define PIECE " + SlotTable.PIECE},
          {"adamw.cuh", "#define STREAMED " + SlotTable.STREAMED},
          {"adamw.cuh", "#define PARAMETER_BF16 " + SlotTable.PARAMETER_BF16},
          {"adamw.cuh", "#define GRADIENT_BF16 " + SlotTable.GRADIENT_BF16},
          {"adamw.cuh", "#define MASTER_REST " + SlotTable.MASTER_REST},
          {"adamw.cuh", "#define MOMENTS_LOW " + SlotTable.MOMENTS_LOW},
          {"adamw.cu", "#define CHUNK " + SlotTable.CHUNK},
        }) {
      try (InputStream in = SlotTable.class.getResourceAsStream(line[0])) {
        String text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
        assertTrue(text.lines().anyMatch(l -> l.startsWith(line[1])), line[1]);
      }
    }
  }
}
