package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.OptionalLong;
import java.util.function.IntUnaryOperator;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** All numbers are those of Megatron's own code. */
public class GptIndicesTest {
  private static final int[] SIZES = {5, 3, 9, 4, 7, 2};

  private static GptIndices small(OptionalLong samples, boolean drop) {
    return GptIndices.build(
        s -> SIZES[s],
        new GptIndices.Request(new Split.Range(0, SIZES.length), samples, 8, 1234, drop));
  }

  @Test
  public void cutsOneEpoch() {
    GptIndices indices = small(OptionalLong.of(3), true);
    assertEquals(indices.epochs(), 1);
    assertFalse(indices.separateFinalEpoch());
    assertEquals(indices.documentIndex(), new int[] {2, 1, 5, 0, 4, 3});
    assertEquals(indices.sampleIndex(), new int[] {0, 0, 0, 8, 3, 2, 4, 5});
    assertEquals(indices.shuffleIndex(), new int[] {0, 2, 1});
  }

  @Test
  public void separatesTheFinalEpoch() {
    GptIndices indices = small(OptionalLong.of(8), true);
    assertEquals(indices.epochs(), 3);
    assertTrue(indices.separateFinalEpoch());
    assertEquals(
        indices.documentIndex(), new int[] {1, 2, 5, 2, 3, 4, 1, 0, 4, 5, 0, 3, 1, 0, 3, 2, 5, 4});
    assertEquals(
        indices.sampleIndex(),
        new int[] {0, 0, 1, 5, 3, 2, 4, 1, 5, 5, 7, 3, 8, 6, 11, 0, 13, 1, 15, 0, 15, 8, 17, 5});
    assertEquals(indices.shuffleIndex(), new int[] {2, 3, 5, 1, 4, 6, 0, 8, 7, 9, 10});
  }

  @Test
  public void keepsAPartialLastSample() {
    GptIndices indices = small(OptionalLong.empty(), false);
    assertEquals(indices.sampleIndex(), new int[] {0, 0, 0, 8, 3, 2, 4, 5, 5, 3});
    assertEquals(indices.shuffleIndex(), new int[] {0, 2, 1, 3});
  }

  @Test
  public void countsPartialSamplesInSinglePrecision() {
    // (2^24 + 1) / 16 is rounded up to 2^20 + 1, but not in floats.
    GptIndices indices =
        GptIndices.build(
            s -> (1 << 24) + 2,
            new GptIndices.Request(new Split.Range(0, 1), OptionalLong.empty(), 16, 1, false));
    assertEquals(indices.size(), 1 << 20);
  }

  @DataProvider
  public Object[][] megatrons() {
    // from, to, samples, seqLength, seed, drop, then size and hashes of the three indices
    return new Object[][] {
      {0, 500, -1, 32, 1234L, true, 172, -485160671, 1554049548, -2086260911},
      {0, 500, 100, 32, 1234L, true, 172, -485160671, 1554049548, -2086260911},
      {0, 500, 1000, 32, 7L, true, 1032, -779643673, -1760517480, -574980615},
      {100, 400, 3000, 5, 4294967295L, true, 3298, 540757739, 1662351216, -321157070},
      {0, 485, 169, 32, 1234L, true, 332, -80185567, 202743360, -150173819},
      {485, 500, 40, 64, 1234L, true, 40, -309865343, 1414882310, 580336085},
      {3, 4, 200, 7, 42L, true, 200, -1837564926, 1965462135, 1231652137},
      {0, 500, 1000, 33, 5L, false, 1002, 1217100581, 60383182, -1061960882},
      {0, 500, -1, 1000, 5L, false, 6, -1030828165, 977212604, 1002171256},
      {490, 500, -1, 200, 5L, false, 1, -1787997314, 923800, 31},
    };
  }

  @Test(dataProvider = "megatrons")
  public void equalsMegatron(
      int from,
      int to,
      int samples,
      int seqLength,
      long seed,
      boolean drop,
      int size,
      int documents,
      int sampleIndex,
      int shuffle) {
    GptIndices indices =
        GptIndices.build(
            s -> s * 7 % 23,
            new GptIndices.Request(
                new Split.Range(from, to),
                samples < 0 ? OptionalLong.empty() : OptionalLong.of(samples),
                seqLength,
                seed,
                drop));
    assertEquals(indices.size(), size);
    assertEquals(Arrays.hashCode(indices.documentIndex()), documents);
    assertEquals(Arrays.hashCode(indices.sampleIndex()), sampleIndex);
    assertEquals(Arrays.hashCode(indices.shuffleIndex()), shuffle);
  }

  @Test
  public void refusesWhatCannotBe() {
    assertSentence(
        s -> 0, 5, 10, "5 sequences, from number 0 on, hold no tokens to draw samples from");
    assertSentence(
        s -> 1,
        1000,
        5_000_000,
        "5000000 samples of 1000 tokens from 5 sequences with 5 tokens need an index of");
  }

  private static void assertSentence(
      IntUnaryOperator lengths, int seqLength, long samples, String start) {
    String message =
        expectThrows(
                IllegalArgumentException.class,
                () ->
                    GptIndices.build(
                        lengths,
                        new GptIndices.Request(
                            new Split.Range(0, 5), OptionalLong.of(samples), seqLength, 1, true)))
            .getMessage();
    assertTrue(message.startsWith(start), message);
  }
}
