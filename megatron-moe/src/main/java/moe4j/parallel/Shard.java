package moe4j.parallel;

import java.util.ArrayList;
import java.util.List;

/**
 * Which part of a tensor a rank holds. One dimension is cut: it consists of equal blocks, and of
 * each block this rank has the {@code index}-th of {@code count} equal parts, one after the other.
 * Mostly there is one block; SwiGLU's first layer has two, gate and input, one upon the other.
 *
 * @param dim the dimension that is cut
 * @param blocks it consists of
 * @param index which part of each
 * @param count of how many
 */
public record Shard(int dim, int blocks, int index, int count) {

  /** All of a tensor. */
  public static final Shard WHOLE = new Shard(0, 1, 0, 1);

  /** Refuses numbers that are no part of a tensor. */
  public Shard {
    if (dim < 0 || blocks < 1 || count < 1 || index < 0 || index >= count) {
      throw new IllegalArgumentException(
          "a rank cannot have part %d of %d of each of %d blocks of dimension %d"
              .formatted(index, count, blocks, dim));
    }
  }

  /** This rank's part among a group's. */
  public static Shard of(Group group, int dim) {
    return of(group, dim, 1);
  }

  /** The same of a dimension of several blocks. */
  public static Shard of(Group group, int dim, int blocks) {
    return new Shard(dim, blocks, group.rank(), group.size());
  }

  /** Whether it is all of the tensor. */
  public boolean isWhole() {
    return count == 1;
  }

  /**
   * A box of the tensor that this rank holds.
   *
   * @param offset where it lies in the whole tensor
   * @param shape its extent
   * @param local where it begins in dimension {@code dim} of the rank's own tensor
   */
  @SuppressWarnings("ArrayRecordComponent") // a box: nobody compares two
  public record Part(long[] offset, long[] shape, long local) {}

  /**
   * The shape of the rank's own tensor.
   *
   * @throws IllegalArgumentException where the dimension cannot be cut so
   */
  public long[] localShape(long... global) {
    if (isWhole()) {
      return global.clone();
    }
    if (global[dim] % ((long) blocks * count) != 0) {
      throw new IllegalArgumentException(
          "a dimension of %d is no multiple of %d: it cannot be cut into %d parts"
              .formatted(global[dim], (long) blocks * count, count));
    }
    long[] local = global.clone();
    local[dim] = global[dim] / count;
    return local;
  }

  /** What the rank's own tensor consists of, in its order. */
  public List<Part> parts(long... global) {
    if (isWhole()) {
      return List.of(new Part(new long[global.length], global.clone(), 0));
    }
    long[] local = localShape(global);
    long each = local[dim] / blocks;
    List<Part> parts = new ArrayList<>();
    for (int b = 0; b < blocks; b++) {
      long[] offset = new long[global.length];
      offset[dim] = (b * (long) count + index) * each;
      long[] shape = local.clone();
      shape[dim] = each;
      parts.add(new Part(offset, shape, b * each));
    }
    return parts;
  }
}
