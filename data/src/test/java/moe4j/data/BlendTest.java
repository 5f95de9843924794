package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.List;
import org.testng.annotations.Test;

/** Indices and sums are those of Megatron's code and of NumPy. */
public class BlendTest {
  @Test
  public void readsListsAsMegatron() {
    assertEquals(parse("a"), new Blend(List.of("a"), null));
    assertEquals(parse("a", " b ", "c"), new Blend(List.of("a", "b", "c"), null));
    assertEquals(parse("30", "a", "7e1", "b"), new Blend(List.of("a", "b"), List.of(30.0, 70.0)));
    assertEquals(parse("1", "a"), new Blend(List.of("a"), List.of(1.0)));
    assertEquals(parse("a", "b"), new Blend(List.of("a", "b"), null));
    // Java would read a number here, but Python does not.
    assertEquals(parse("1d", "b"), new Blend(List.of("1d", "b"), null));
  }

  @Test
  public void refusesOtherLists() {
    assertSentence("--data-path names no dataset");
    assertSentence(
        "--data-path has an even number of words, but only 1 of the 2 that should be weights are"
            + " numbers",
        "1",
        "a",
        "b",
        "c");
    assertSentence("--data-path has the weight 0.0, but weights are above 0", "0", "a", "1", "b");
    assertSentence("--data-path has the weight -1.0, but weights are above 0", "-1", "a");
  }

  private static Blend parse(String... list) {
    return Blend.parse("--data-path", List.of(list));
  }

  private static void assertSentence(String sentence, String... list) {
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> parse(list)).getMessage(), sentence);
  }

  @Test
  public void normalizesAsNumpy() {
    int[] counts = {3, 9, 200};
    int[] hashes = {501507945, -1313175903, 1228613873};
    for (int i = 0; i < counts.length; i++) {
      double[] weights = new double[counts[i]];
      for (int w = 0; w < weights.length; w++) {
        weights[w] = (w * 37 + 11) % 101 / 7.0 + 0.1;
      }
      assertEquals(Arrays.hashCode(Blend.normalize(weights)), hashes[i]);
    }
  }

  @Test
  public void mixesByWeight() {
    BlendIndices two = BlendIndices.weighted(new double[] {.3, .7}, 10);
    assertEquals(two.dataset(), new short[] {1, 0, 1, 1, 0, 1, 1, 0, 1, 1});
    assertEquals(two.sample(), new long[] {0, 0, 1, 2, 1, 3, 4, 2, 5, 6});
    BlendIndices three = BlendIndices.weighted(new double[] {.5, .25, .25}, 8);
    assertEquals(three.dataset(), new short[] {0, 1, 2, 0, 0, 1, 2, 0});
    BlendIndices five =
        BlendIndices.weighted(Blend.normalize(new double[] {1, 2, 3.5, 0.1, 7}), 1000);
    assertEquals(Arrays.hashCode(five.dataset()), 524815442);
    assertEquals(Arrays.hashCode(five.sample()), -997542114);
  }

  @Test
  public void mixesAllOfEach() {
    BlendIndices all = BlendIndices.exhaustive(new long[] {5, 1, 4}, 10);
    assertEquals(all.dataset(), new short[] {0, 2, 1, 0, 2, 0, 2, 0, 2, 0});
    assertEquals(all.sample(), new long[] {0, 0, 0, 1, 1, 2, 2, 3, 3, 4});
  }
}
