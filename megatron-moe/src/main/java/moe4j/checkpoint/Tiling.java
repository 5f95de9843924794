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

  /** Boxes that are apart from all others. {@code whole} dimensions in a row did not part them. */
  private record Group(List<Integer> members, int dimension, int whole) {}

  /** The places in the list of two boxes that share an element; empty where no two do. */
  static Optional<List<Integer>> overlap(List<Slice> boxes) {
    List<Integer> all = new ArrayList<>();
    for (int i = 0; i < boxes.size(); i++) {
      if (!boxes.get(i).shape().contains(0L)) {
        all.add(i);
      }
    }
    Deque<Group> groups = new ArrayDeque<>();
    groups.add(new Group(all, 0, 0));
    while (!groups.isEmpty()) {
      Group group = groups.removeLast();
      if (group.members.size() < 2) {
        continue;
      }
      int dimensions = boxes.get(group.members.get(0)).shape().size();
      if (group.whole < dimensions) {
        part(boxes, group, dimensions, groups);
        continue;
      }
      Optional<List<Integer>> found = compareAll(boxes, group.members);
      if (found.isPresent()) {
        return found;
      }
    }
    return Optional.empty();
  }

  private static void part(List<Slice> boxes, Group group, int dimensions, Deque<Group> groups) {
    int d = group.dimension;
    List<Integer> sorted = new ArrayList<>(group.members);
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
    int whole = parts.size() == 1 ? group.whole + 1 : 1;
    for (List<Integer> each : parts) {
      groups.add(new Group(each, (d + 1) % dimensions, whole));
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
