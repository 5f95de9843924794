package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class TilingTest {
  private final Random random = Seeds.random(TilingTest.class);

  /** Few boxes, so that about half of the rounds have no overlap; judged by counting elements. */
  @Test
  public void findsAnOverlapWhereThereIsOne() {
    int[] seen = new int[2];
    for (int round = 0; round < 3000; round++) {
      List<Long> shape = Samples.shape(random);
      List<Slice> boxes = new ArrayList<>();
      for (int i = random.nextInt(5); i > 0; i--) {
        boxes.add(Samples.slice(random, shape));
      }
      int[] covered = new int[(int) Slice.whole(shape).volume()];
      boolean overlaps = false;
      for (Slice box : boxes) {
        for (int element : Samples.elements(shape, box)) {
          overlaps |= covered[element]++ > 0;
        }
      }
      Optional<List<Integer>> found = Tiling.overlap(boxes);
      assertEquals(found.isPresent(), overlaps, boxes.toString());
      seen[overlaps ? 1 : 0]++;
      if (overlaps) {
        Slice one = boxes.get(found.get().get(0));
        Slice other = boxes.get(found.get().get(1));
        assertTrue(one.intersect(other).isPresent(), found + " of " + boxes);
      }
    }
    assertTrue(Math.min(seen[0], seen[1]) > 300, seen[0] + " without, " + seen[1] + " with");
  }

  /** No cut goes through between them. */
  @Test
  public void aPinwheelIsNoOverlap() {
    List<Slice> pinwheel =
        new ArrayList<>(
            List.of(
                Slice.of(new long[] {0, 0}, new long[] {1, 2}),
                Slice.of(new long[] {0, 2}, new long[] {2, 1}),
                Slice.of(new long[] {2, 1}, new long[] {1, 2}),
                Slice.of(new long[] {1, 0}, new long[] {2, 1}),
                Slice.of(new long[] {1, 1}, new long[] {1, 1})));
    assertEquals(Tiling.overlap(pinwheel), Optional.empty());
    pinwheel.set(4, Slice.of(new long[] {1, 1}, new long[] {1, 2}));
    assertEquals(Tiling.overlap(pinwheel), Optional.of(List.of(1, 4)));
  }

  /**
   * A thousand ranks with a few boxes each of the same tensor. Each with each would be 10^10
   * comparisons; it is a second's work.
   */
  @Test(timeOut = 60_000)
  public void thousandsOfFlatRangesAreNotComparedEachWithEach() {
    List<Long> shape = List.of(3000L, 7L, 11L);
    List<Slice> boxes = new ArrayList<>();
    for (long at = 0; at < 231_000; ) {
      long next = Math.min(231_000, at + 1 + random.nextInt(4));
      boxes.addAll(Slice.ofRange(shape, at, next));
      at = next;
    }
    assertTrue(boxes.size() > 90_000, "too few: " + boxes.size());
    Collections.shuffle(boxes, random);
    assertEquals(Tiling.overlap(boxes), Optional.empty());
    Slice again = boxes.get(random.nextInt(boxes.size()));
    boxes.add(again);
    assertTrue(Tiling.overlap(boxes).isPresent());
  }

  /** 1,024 ranks with two files each and a piece of each of 300 tensors. */
  @Test(timeOut = 60_000)
  public void theManifestOfAThousandRanksIsCheckedInSeconds() {
    int ranks = 1024;
    List<WrittenFile> shards = new ArrayList<>();
    for (int rank = 0; rank < ranks; rank++) {
      List<WrittenFile.Part> parts = new ArrayList<>();
      Slice columns = Slice.of(new long[] {0, 4L * rank}, new long[] {16, 4});
      for (int i = 0; i < 300; i++) {
        parts.add(
            new WrittenFile.Part("w" + i, Dtype.F32, List.of(16L, 4096L), "w" + i + "@", columns));
      }
      shards.add(new WrittenFile(file(Section.MODEL, rank, ranks), parts));
      shards.add(new WrittenFile(file(Section.OPTIMIZER, rank, ranks), List.of()));
    }
    Manifest manifest = Manifest.of(Instant.EPOCH, Samples.info(1), shards);
    assertEquals(manifest.tensors().get("w299").pieces().size(), ranks);
  }

  private static Manifest.FileEntry file(Section section, int rank, int ranks) {
    return new Manifest.FileEntry(section.fileName(rank, ranks), section, 1, "");
  }
}
