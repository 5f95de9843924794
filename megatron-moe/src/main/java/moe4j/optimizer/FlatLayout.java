package moe4j.optimizer;

import java.util.ArrayList;
import java.util.List;

/**
 * Where parameters lie in one flat memory, which is cut into buckets: the last parameter first, as
 * a backward comes to them, each whole in one bucket. A bucket is a number of equal parts, one a
 * rank. Parameters and parts start at multiples of {@link #ALIGNMENT} elements, for kernels that
 * read several at once; what lies between is padding.
 *
 * @param buckets in the memory's order
 * @param size elements of the memory
 */
record FlatLayout(List<Bucket> buckets, long size) {
  static final long ALIGNMENT = 256;

  /**
   * A parameter's place.
   *
   * @param parameter its number
   * @param start its first element in the memory
   * @param size its elements
   */
  record Place(int parameter, long start, long size) {

    /** The parameter's elements that lie in a range of the memory, as from and to. */
    long[] within(long from, long to) {
      long first = Math.max(0, Math.min(size, from - start));
      return new long[] {first, Math.max(first, Math.min(size, to - start))};
    }
  }

  /**
   * A stretch of the memory that is communicated at once.
   *
   * @param start its first element
   * @param size its elements, with padding
   * @param places the parameters in it
   */
  record Bucket(long start, long size, List<Place> places) {

    /** The lowest number in it: a backward comes to it last. */
    int last() {
      return places.get(places.size() - 1).parameter();
    }
  }

  /**
   * Lays parameters out.
   *
   * @param numbers of the parameters, ascending
   * @param sizes of all parameters, by number
   * @param bucketSize elements from which on a bucket is full
   * @param parts of a bucket
   */
  static FlatLayout of(List<Integer> numbers, long[] sizes, long bucketSize, int parts) {
    List<Bucket> buckets = new ArrayList<>();
    List<Place> places = new ArrayList<>();
    long start = 0;
    long end = 0;
    for (int i = numbers.size() - 1; i >= 0; i--) {
      int number = numbers.get(i);
      places.add(new Place(number, end, sizes[number]));
      end = up(end + sizes[number], ALIGNMENT);
      if (end - start >= bucketSize || i == 0) {
        end = start + up(end - start, ALIGNMENT * parts);
        buckets.add(new Bucket(start, end - start, List.copyOf(places)));
        places.clear();
        start = end;
      }
    }
    return new FlatLayout(List.copyOf(buckets), end);
  }

  private static long up(long n, long multiple) {
    return (n + multiple - 1) / multiple * multiple;
  }
}
