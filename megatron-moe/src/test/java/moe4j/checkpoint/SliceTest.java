package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class SliceTest {
  private final Random random = Seeds.random(SliceTest.class);

  @Test
  public void runsMoveWhatTwoSlicesShareAndNothingElse() throws IOException {
    for (int round = 0; round < 500; round++) {
      List<Long> shape = Samples.shape(random);
      Slice source = Samples.slice(random, shape);
      Slice target = Samples.slice(random, shape);
      List<Integer> from = Samples.elements(shape, source);
      List<Integer> to = Samples.elements(shape, target);
      List<Integer> got = new ArrayList<>(Collections.nCopies(to.size(), -1));
      Slice.forEachRun(
          source,
          target,
          (a, b, length) -> {
            assertTrue(length > 0);
            for (int i = 0; i < length; i++) {
              assertEquals(got.set((int) b + i, from.get((int) a + i)), Integer.valueOf(-1));
            }
          });
      List<Integer> expected = to.stream().map(e -> from.contains(e) ? e : -1).toList();
      assertEquals(got, expected, source + " into " + target + " of " + shape);
    }
  }

  @Test
  public void fullInnerDimensionsAreOneRun() throws IOException {
    List<Long> lengths = new ArrayList<>();
    Slice.Run count = (source, target, length) -> lengths.add(length);
    Slice.forEachRun(
        Slice.of(new long[] {2, 0, 0}, new long[] {3, 4, 5}),
        Slice.whole(List.of(8L, 4L, 5L)),
        count);
    assertEquals(lengths, List.of(60L));
  }

  @Test
  public void chunksFollowEachOtherInMemoryAndFit() {
    for (int round = 0; round < 300; round++) {
      List<Long> shape = Samples.shape(random);
      Slice slice = Samples.slice(random, shape);
      int max = 1 + random.nextInt(30);
      List<Integer> joined = new ArrayList<>();
      for (Slice chunk : slice.chunks(max)) {
        assertTrue(chunk.volume() <= max);
        joined.addAll(Samples.elements(shape, chunk));
      }
      assertEquals(joined, Samples.elements(shape, slice), slice + " by " + max);
    }
  }

  @Test
  public void chunksAreAsLargeAsRowsAllow() {
    assertEquals(Slice.whole(List.of(10L, 100L)).chunks(350).size(), 4);
  }

  @Test
  public void aRangesBoxesAreTheRange() {
    for (int round = 0; round < 2000; round++) {
      List<Long> shape = Samples.shape(random);
      int volume = (int) Slice.whole(shape).volume();
      // Often at an end, where heads, tails and whole tensors are.
      int from = random.nextInt(3) == 0 ? 0 : random.nextInt(volume + 1);
      int to = random.nextInt(3) == 0 ? volume : from + random.nextInt(volume - from + 1);
      List<Slice> boxes = Slice.ofRange(shape, from, to);
      assertTrue(boxes.size() <= Math.max(1, 2 * shape.size() - 1), boxes.toString());
      List<Integer> joined = new ArrayList<>();
      for (Slice box : boxes) {
        assertTrue(box.isInside(shape) && box.volume() > 0, box + " of " + shape);
        joined.addAll(Samples.elements(shape, box));
      }
      List<Integer> range = IntStream.range(from, to).boxed().toList();
      assertEquals(joined, range, boxes + " of " + shape);
    }
  }

  @Test
  public void aRangeIsAsFewBoxesAsItCanBe() {
    List<Long> shape = List.of(4L, 1L, 5L);
    assertEquals(Slice.ofRange(List.of(), 0, 1), List.of(Slice.whole(List.of())));
    assertEquals(Slice.ofRange(List.of(), 1, 1), List.of());
    assertEquals(Slice.ofRange(shape, 0, 20), List.of(Slice.whole(shape)));
    assertEquals(
        Slice.ofRange(shape, 5, 15), List.of(Slice.of(new long[] {1, 0, 0}, new long[] {2, 1, 5})));
    assertEquals(
        Slice.ofRange(shape, 3, 16),
        List.of(
            Slice.of(new long[] {0, 0, 3}, new long[] {1, 1, 2}),
            Slice.of(new long[] {1, 0, 0}, new long[] {2, 1, 5}),
            Slice.of(new long[] {3, 0, 0}, new long[] {1, 1, 1})));
    for (long[] range : new long[][] {{-1, 3}, {3, 2}, {0, 21}}) {
      assertThrows(IllegalArgumentException.class, () -> Slice.ofRange(shape, range[0], range[1]));
    }
  }

  @Test
  public void refusesWhatIsNoBox() {
    assertThrows(IllegalArgumentException.class, () -> Slice.of(new long[] {0, 0}, new long[] {1}));
    assertThrows(IllegalArgumentException.class, () -> Slice.of(new long[] {-1}, new long[] {1}));
    assertThrows(
        IllegalArgumentException.class,
        () -> Slice.of(new long[] {2}, new long[] {Long.MAX_VALUE - 1}));
    Slice slice = Slice.of(new long[] {1, 0}, new long[] {2, 4});
    assertTrue(slice.isInside(List.of(3L, 4L)));
    assertFalse(slice.isInside(List.of(2L, 4L)));
    assertFalse(slice.isInside(List.of(3L, 4L, 1L)));
    assertThrows(IllegalArgumentException.class, () -> slice.chunks(0));
  }
}
