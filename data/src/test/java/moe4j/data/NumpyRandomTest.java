package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;

import java.util.Arrays;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.testng.annotations.Test;

/** All numbers are NumPy's. */
public class NumpyRandomTest {
  @Test
  public void drawsNumpysBits() {
    NumpyRandom random = new NumpyRandom(1234);
    for (long expected : new long[] {822569775L, 2137449171L, 2671936806L, 3512589365L}) {
      assertEquals(Integer.toUnsignedLong(random.next32()), expected);
    }
    assertThrows(IllegalArgumentException.class, () -> new NumpyRandom(-1));
    assertThrows(IllegalArgumentException.class, () -> new NumpyRandom(1L << 32));
  }

  @Test
  public void shufflesAsNumpy() {
    NumpyRandom random = new NumpyRandom(1234);
    int[] ints = IntStream.range(0, 10).toArray();
    random.shuffle(ints);
    assertEquals(ints, new int[] {7, 2, 9, 1, 0, 8, 4, 5, 6, 3});
    long[] longs = LongStream.range(0, 10).toArray();
    random.shuffle(longs);
    assertEquals(longs, new long[] {7, 3, 5, 1, 4, 8, 0, 2, 6, 9});
  }

  @Test
  public void shufflesAsNumpyPastARefill() {
    long[] seeds = {0, 1, 4294967295L};
    int[] hashes = {-439753771, -689023107, 1727158881};
    for (int i = 0; i < seeds.length; i++) {
      int[] ints = IntStream.range(0, 2000).toArray();
      new NumpyRandom(seeds[i]).shuffle(ints);
      assertEquals(Arrays.hashCode(ints), hashes[i]);
    }
  }

  /** The draws of a shuffle of 2^33 + 5 and of 2^40 things, which take 64 bits each. */
  @Test
  public void drawsWideIntervalsAsNumpy() {
    long[] below33 = {2629000564L, 3312965625L, 682106748L, 2090933724L, 5716667728L, 7742278015L};
    long[] below40 = {204000912083L, 166721346613L, 878802328948L, 656147994617L};
    NumpyRandom random = new NumpyRandom(1234);
    for (int i = 0; i < below33.length; i++) {
      assertEquals(random.interval((1L << 33) + 4 - i), below33[i]);
    }
    random = new NumpyRandom(1234);
    for (int i = 0; i < below40.length; i++) {
      assertEquals(random.interval((1L << 40) - 1 - i), below40[i]);
    }
  }

  @Test
  public void mockSequencesHaveMegatronsLengths() {
    MockSequences mock = new MockSequences(50, 44);
    int[] lengths = IntStream.range(0, mock.sequences()).map(mock::length).toArray();
    assertEquals(Arrays.copyOf(lengths, 6), new int[] {3484, 2609, 2094, 1105, 1261, 168});
    assertEquals(Arrays.hashCode(lengths), 728486102);
    long[] tokens = new long[168];
    mock.get(5, 0, 168, tokens, 0);
    assertEquals(tokens[48], 49);
    assertEquals(tokens[49], 0);
    assertEquals(tokens[166], 17);
    assertEquals(tokens[167], 44);
  }
}
