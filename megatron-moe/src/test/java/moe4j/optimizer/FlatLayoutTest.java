package moe4j.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class FlatLayoutTest {

  /**
   * By hand: 3 parameters of 400, 256 and 1 elements in buckets of 257 and more, two parts each.
   */
  @Test
  public void theLastParameterComesFirst() {
    FlatLayout layout = FlatLayout.of(List.of(0, 2, 5), new long[] {400, 9, 256, 9, 9, 1}, 257, 2);
    assertEquals(
        layout,
        new FlatLayout(
            List.of(
                new FlatLayout.Bucket(
                    0,
                    512,
                    List.of(new FlatLayout.Place(5, 0, 1), new FlatLayout.Place(2, 256, 256))),
                new FlatLayout.Bucket(512, 512, List.of(new FlatLayout.Place(0, 512, 400)))),
            1024));
    assertEquals(layout.buckets().get(0).last(), 2);
    // Parameter 0 lies at 512 to 912.
    FlatLayout.Place place = layout.buckets().get(1).places().get(0);
    assertEquals(place.within(512, 768), new long[] {0, 256});
    assertEquals(place.within(768, 1024), new long[] {256, 400});
    assertEquals(place.within(0, 512), new long[] {0, 0});
    assertEquals(place.within(920, 1024), new long[] {400, 400});
  }

  @Test
  public void everyElementIsInOnePart() {
    Random random = Seeds.random(FlatLayoutTest.class);
    for (int round = 0; round < 100; round++) {
      long[] sizes = random.longs(1 + random.nextInt(12), 1, 1000).toArray();
      List<Integer> numbers = new ArrayList<>();
      for (int i = 0; i < sizes.length; i++) {
        numbers.add(i);
      }
      int parts = 1 + random.nextInt(7);
      FlatLayout layout = FlatLayout.of(numbers, sizes, 1 + random.nextInt(1500), parts);
      long[] covered = new long[sizes.length];
      long end = 0;
      int previous = sizes.length;
      for (FlatLayout.Bucket bucket : layout.buckets()) {
        assertEquals(bucket.start(), end);
        assertEquals(bucket.size() % (parts * FlatLayout.ALIGNMENT), 0);
        end += bucket.size();
        long part = bucket.size() / parts;
        for (FlatLayout.Place place : bucket.places()) {
          assertTrue(place.parameter() < previous);
          previous = place.parameter();
          assertEquals(place.start() % FlatLayout.ALIGNMENT, 0);
          long at = 0;
          for (int p = 0; p < parts; p++) {
            long first = bucket.start() + p * part;
            long[] range = place.within(first, first + part);
            if (range[1] > range[0]) {
              assertEquals(range[0], at);
              at = range[1];
            }
          }
          covered[place.parameter()] = at;
        }
      }
      assertEquals(end, layout.size());
      assertEquals(covered, sizes);
    }
  }
}
