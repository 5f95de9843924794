package moe4j.data.stream;

import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/** How often each byte occurs, and in which order the bytes came first, as Python's Counter. */
public final class ByteCounts {
  private final long[] counts = new long[256];
  private final int[] rank = new int[256];
  private int seen;

  /** Counts {@code bytes[from..to)}. */
  public void add(byte[] bytes, int from, int to) {
    for (int i = from; i < to; i++) {
      int value = bytes[i] & 0xff;
      if (counts[value]++ == 0) {
        rank[value] = seen++;
      }
    }
  }

  /**
   * How often a byte occurs.
   *
   * @param value 0 to 255
   */
  public long count(int value) {
    return counts[value];
  }

  /** Bytes that occur at all, of 256. */
  public int distinct() {
    return seen;
  }

  /** The bytes that occur, 0 to 255, the most frequent first; of equals the one that came first. */
  public List<Integer> mostCommon() {
    return IntStream.range(0, 256)
        .filter(value -> counts[value] > 0)
        .boxed()
        .sorted(
            Comparator.<Integer>comparingLong(value -> -counts[value])
                .thenComparingInt(value -> rank[value]))
        .toList();
  }
}
