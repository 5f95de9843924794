package moe4j.parallel;

import org.bytedeco.pytorch.Tensor;

/**
 * Ranks that communicate. Every rank of the group makes the same calls in the same order, with
 * tensors of the same type and, but where said otherwise, of the same shape; they are contiguous.
 * Each call begins something that its {@link Pending} waits for: until then neither input nor
 * output may be touched. On a GPU waiting is the stream's, not the host's.
 */
public interface Group {

  /** Something under way. */
  @FunctionalInterface
  interface Pending {
    /** Nothing. */
    Pending NONE = () -> {};

    /**
     * Waits for its end. Called again, it does nothing.
     *
     * @throws RankLostException where a rank of the group is gone or did not answer in time
     */
    void await();
  }

  /** The operation that makes one element of all ranks' elements. */
  enum Reduction {
    SUM,
    MAX
  }

  /** This rank's number in the group. */
  int rank();

  /** Ranks of the group. */
  int size();

  /** Whether the group is this rank alone, so that nothing is communicated. */
  default boolean isAlone() {
    return size() == 1;
  }

  /** Whether the group's calls can be captured in a CUDA graph. */
  boolean isCapturable();

  /** Reduces in place: every rank has the same bits then. */
  Pending allReduce(Tensor tensor, Reduction reduction);

  /**
   * Puts the ranks' tensors one after the other.
   *
   * @param output [size n, ...]
   * @param input [n, ...]
   */
  Pending allGather(Tensor output, Tensor input);

  /**
   * Sums the ranks' tensors and leaves each rank its part.
   *
   * @param output [n, ...]
   * @param input [size n, ...]
   */
  Pending reduceScatter(Tensor output, Tensor input);

  /**
   * Sends rows to every rank and takes rows from every rank.
   *
   * @param output [sum of outputRows, ...], the first rank's rows first
   * @param input [sum of inputRows, ...], the first rank's rows first
   * @param outputRows of each rank
   * @param inputRows to each rank
   */
  Pending allToAll(Tensor output, Tensor input, long[] outputRows, long[] inputRows);

  /** Copies the tensor of the rank {@code root} into those of all ranks. */
  Pending broadcast(Tensor tensor, int root);

  /** This rank alone. */
  static Group alone() {
    return SingleRank.GROUP;
  }
}
