package moe4j.checkpoint;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Optional;

/**
 * Whether the boxes that a tensor was cut into lie beside each other. Comparing each with each is
 * too much where a thousand ranks hold a few boxes of every tensor; so the boxes are parted along
 * one dimension after the other wherever a cut goes through between them. That ends with single
 * boxes for all that ranks cut by rows, columns, grids or flat ranges, and only what no cut parts
 * is compared each with each.
 */
final class Tiling {
  private Tiling() {}

  /**
   * Boxes that share no element with any other box.
   *
   * @param members their places in the list
   * @param dimension the dimension along which they are parted next
   * @param whole along how many dimensions in a row no cut parted them
   */
  private record Bunch(List<Integer> members, int dimension, int whole) {}

  /** The places in the list of two boxes that share an element; empty where no two do. */
  static Optional<List<Integer>> overlap(List<Slice> boxes) {
    List<Integer> all = new ArrayList<>();
    for (int i = 0; i < boxes.size(); i++) {
      if (!boxes.get(i).shape().contains(0L)) {
        all.add(i);
      }
    }
    Deque<Bunch> bunches = new ArrayDeque<>();
    bunches.add(new Bunch(all, 0, 0));
    while (!bunches.isEmpty()) {
      Bunch bunch = bunches.removeLast();
      if (bunch.members.size() < 2) {
        continue;
      }
      int dimensions = boxes.get(bunch.members.get(0)).shape().size();
      if (bunch.whole < dimensions) {
        part(boxes, bunch, dimensions, bunches);
        continue;
      }
      Optional<List<Integer>> found = compareAll(boxes, bunch.members);
      if (found.isPresent()) {
        return found;
      }
    }
    return Optional.empty();
  }

  private static void part(List<Slice> boxes, Bunch bunch, int dimensions, Deque<Bunch> bunches) {
    int d = bunch.dimension;
    List<Integer> sorted = new ArrayList<>(bunch.members);
    sorted.sort(Comparator.comparingLong((Integer i) -> boxes.get(i).offset().get(d)));
    List<List<Integer>> parts = new ArrayList<>();
    long reach = -1;
    for (int i : sorted) {
      long start = boxes.get(i).offset().get(d);
      if (start >= reach) {
        parts.add(new ArrayList<>());
      }
      parts.get(parts.size() - 1).add(i);
      reach = Math.max(reach, start + boxes.get(i).shape().get(d));
    }
    // Once parted along d, only a cut along another dimension can make d worth another look.
    int whole = parts.size() == 1 ? bunch.whole + 1 : 1;
    for (List<Integer> each : parts) {
      bunches.add(new Bunch(each, (d + 1) % dimensions, whole));
    }
  }

  private static Optional<List<Integer>> compareAll(List<Slice> boxes, List<Integer> members) {
    for (int i = 0; i < members.size(); i++) {
      for (int j = 0; j < i; j++) {
        if (boxes.get(members.get(i)).intersect(boxes.get(members.get(j))).isPresent()) {
          int one = members.get(i);
          int other = members.get(j);
          return Optional.of(List.of(Math.min(one, other), Math.max(one, other)));
        }
      }
    }
    return Optional.empty();
  }
}
