package moe4j.kernels.check;

import java.util.List;
import java.util.Random;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;

/**
 * Rows in groups, drawn at random.
 *
 * @param groups G; 0 for rows in no groups
 * @param members how many rows are in groups
 * @param behind how many rows come after the last group's end
 * @param alone whether one group has all of the members
 */
public record RowGroups(int groups, int members, int behind, boolean alone) {
  /** Groups of every kind: one row, empty ones, one with all rows, and rows after the last. */
  public static List<RowGroups> several() {
    return List.of(
        new RowGroups(1, 1, 0, false),
        new RowGroups(5, 40, 0, false),
        new RowGroups(8, 1001, 17, false),
        new RowGroups(7, 700, 9, true),
        new RowGroups(64, 333, 0, false),
        new RowGroups(512, 700, 3, false),
        new RowGroups(3, 0, 4, false));
  }

  /** The group of each member. */
  public long[] of(Random random) {
    if (groups == 0) {
      return new long[members];
    }
    int only = random.nextInt(groups);
    return random
        .ints(members, 0, groups)
        .map(g -> alone ? only : g)
        .sorted()
        .asLongStream()
        .toArray();
  }

  /** Where each group ends, int64 on the CPU, or null. */
  public Tensor ends(long[] of) {
    if (groups == 0) {
      return null;
    }
    long[] ends = new long[groups];
    for (long g : of) {
      for (int later = (int) g; later < groups; later++) {
        ends[later]++;
      }
    }
    return Tensors.of(ends);
  }

  /** The members and the rows after them. */
  public int rows() {
    return members + behind;
  }

  @Override
  public String toString() {
    return "G=%d R=%d+%d%s".formatted(groups, members, behind, alone ? " in one" : "");
  }
}
