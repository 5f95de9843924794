package moe4j.checkpoint;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Optional;

/**
 * A box of a tensor: for each dimension, where it starts and how far it reaches. Both lists are
 * empty for a scalar.
 */
public record Slice(List<Long> offset, List<Long> shape) {
  /**
   * Checks the numbers alone; {@link #isInside} relates them to a tensor.
   *
   * @throws IllegalArgumentException where the ranks differ, a number is negative or a sum
   *     overflows
   */
  public Slice {
    offset = List.copyOf(offset);
    shape = List.copyOf(shape);
    if (offset.size() != shape.size()) {
      throw new IllegalArgumentException(
          "slice at " + offset + " of shape " + shape + ": their ranks differ");
    }
    for (int d = 0; d < offset.size(); d++) {
      if (offset.get(d) < 0 || shape.get(d) < 0 || offset.get(d) > Long.MAX_VALUE - shape.get(d)) {
        throw new IllegalArgumentException(
            "slice at " + offset + " of shape " + shape + ": out of range");
      }
    }
  }

  /** All of a tensor. */
  public static Slice whole(List<Long> shape) {
    return new Slice(Collections.nCopies(shape.size(), 0L), shape);
  }

  /** A slice from plain arrays. */
  public static Slice of(long[] offset, long[] shape) {
    return new Slice(Arrays.stream(offset).boxed().toList(), Arrays.stream(shape).boxed().toList());
  }

  /**
   * The boxes that make up a range of a tensor's elements in row-major order: what a rank holds
   * whose share of a tensor was cut from its flat memory. Their row-major contents, one after the
   * other, are the range.
   *
   * @param shape the tensor's
   * @param from the first element's row-major index
   * @param to the index after the last one's
   * @return at most 2 d - 1 boxes for d dimensions (one for a scalar), in order; none where the
   *     range is empty
   * @throws IllegalArgumentException where the range is not one of the tensor's
   */
  public static List<Slice> ofRange(List<Long> shape, long from, long to) {
    long volume = whole(shape).volume();
    if (from < 0 || to < from || to > volume) {
      throw new IllegalArgumentException(
          String.format(
              "a tensor of shape %s has %d elements: none from %d to %d", shape, volume, from, to));
    }
    List<Slice> boxes = new ArrayList<>();
    addRange(whole(shape), 0, volume, from, to, boxes);
    return boxes;
  }

  /**
   * Adds the boxes of a range of a block, which has size 1 in the dimensions before {@code d} and
   * all of the tensor in the others: {@code volume} elements.
   */
  private static void addRange(
      Slice block, int d, long volume, long from, long to, List<Slice> boxes) {
    if (from == to) {
      return;
    }
    if (from == 0 && to == volume) {
      boxes.add(block);
      return;
    }
    long row = volume / block.shape.get(d);
    long first = from / row;
    long last = to / row;
    if (first == last) {
      addRange(block.rows(d, first, 1), d + 1, row, from % row, to % row, boxes);
      return;
    }
    if (from % row != 0) {
      addRange(block.rows(d, first, 1), d + 1, row, from % row, row, boxes);
      first++;
    }
    if (first < last) {
      boxes.add(block.rows(d, first, last - first));
    }
    if (to % row != 0) {
      addRange(block.rows(d, last, 1), d + 1, row, 0, to % row, boxes);
    }
  }

  /** The part of it from {@code at} on, {@code count} long in dimension {@code d}. */
  private Slice rows(int d, long at, long count) {
    List<Long> start = new ArrayList<>(offset);
    List<Long> size = new ArrayList<>(shape);
    start.set(d, offset.get(d) + at);
    size.set(d, count);
    return new Slice(start, size);
  }

  /**
   * Elements it holds.
   *
   * @throws ArithmeticException where that is no 64-bit number
   */
  public long volume() {
    long volume = 1;
    for (long size : shape) {
      volume = Math.multiplyExact(volume, size);
    }
    return volume;
  }

  /** Whether a tensor of this shape contains it. */
  public boolean isInside(List<Long> globalShape) {
    if (globalShape.size() != shape.size()) {
      return false;
    }
    for (int d = 0; d < shape.size(); d++) {
      if (end(d) > globalShape.get(d)) {
        return false;
      }
    }
    return true;
  }

  /** What two slices of one tensor share; empty where that is not a single element. */
  public Optional<Slice> intersect(Slice other) {
    if (other.shape.size() != shape.size()) {
      throw new IllegalArgumentException("slices " + this + " and " + other + " differ in rank");
    }
    List<Long> start = new ArrayList<>();
    List<Long> size = new ArrayList<>();
    for (int d = 0; d < shape.size(); d++) {
      long from = Math.max(offset.get(d), other.offset.get(d));
      long to = Math.min(end(d), other.end(d));
      if (to <= from) {
        return Optional.empty();
      }
      start.add(from);
      size.add(to - from);
    }
    return Optional.of(new Slice(start, size));
  }

  /**
   * Cuts it into slices of at most {@code maxElements} whose row-major contents, one after the
   * other, are its own: what fits no buffer is read or written part by part.
   */
  public List<Slice> chunks(long maxElements) {
    if (maxElements < 1) {
      throw new IllegalArgumentException("a chunk needs an element, not " + maxElements);
    }
    List<Slice> chunks = new ArrayList<>();
    cut(maxElements, chunks);
    return chunks;
  }

  private void cut(long maxElements, List<Slice> out) {
    long volume = volume();
    if (volume <= maxElements) {
      out.add(this);
      return;
    }
    int d = 0;
    while (shape.get(d) == 1) {
      d++;
    }
    long row = volume / shape.get(d);
    long rows = Math.max(1, maxElements / row);
    for (long at = 0; at < shape.get(d); at += rows) {
      rows(d, at, Math.min(rows, shape.get(d) - at)).cut(maxElements, out);
    }
  }

  /** A stretch of elements that lies in one piece in both slices' row-major memory. */
  interface Run {
    void copy(long source, long target, long length) throws IOException;
  }

  /** The stretches that {@code source} and {@code target} share, in order; indices in elements. */
  static void forEachRun(Slice source, Slice target, Run run) throws IOException {
    Optional<Slice> shared = source.intersect(target);
    if (shared.isEmpty()) {
      return;
    }
    Slice common = shared.get();
    // The innermost dimensions that both hold in full, and one more, make a run.
    int outer = common.shape.size();
    long length = 1;
    boolean full = true;
    while (outer > 0 && full) {
      outer--;
      long size = common.shape.get(outer);
      length *= size;
      full = size == source.shape.get(outer) && size == target.shape.get(outer);
    }
    long[] sourceStride = source.strides();
    long[] targetStride = target.strides();
    long from = common.indexIn(source, sourceStride);
    long to = common.indexIn(target, targetStride);
    long[] at = new long[outer];
    while (true) {
      run.copy(from, to, length);
      int d = outer - 1;
      while (d >= 0 && at[d] == common.shape.get(d) - 1) {
        from -= at[d] * sourceStride[d];
        to -= at[d] * targetStride[d];
        at[d] = 0;
        d--;
      }
      if (d < 0) {
        return;
      }
      at[d]++;
      from += sourceStride[d];
      to += targetStride[d];
    }
  }

  private long[] strides() {
    long[] strides = new long[shape.size()];
    long stride = 1;
    for (int d = strides.length - 1; d >= 0; d--) {
      strides[d] = stride;
      stride *= shape.get(d);
    }
    return strides;
  }

  private long indexIn(Slice outer, long[] strides) {
    long index = 0;
    for (int d = 0; d < strides.length; d++) {
      index += (offset.get(d) - outer.offset.get(d)) * strides[d];
    }
    return index;
  }

  private long end(int d) {
    return offset.get(d) + shape.get(d);
  }
}
