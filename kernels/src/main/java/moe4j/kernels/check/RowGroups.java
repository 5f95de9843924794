package moe4j.kernels.check;

import java.util.Random;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;

/**
 * Rows in groups drawn at random.
 *
 * @param groups G; 0 for rows in no groups
 * @param members the rows of all
 * @param behind rows behind the last group's end
 * @param alone whether one of the groups has all members
 */
public record RowGroups(int groups, int members, int behind, boolean alone) {
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

  public int rows() {
    return members + behind;
  }

  @Override
  public String toString() {
    return "G=%d R=%d+%d%s".formatted(groups, members, behind, alone ? " in one" : "");
  }
}
