package moe4j.plan;

/**
 * The ranks that communicate in one collective: {@code size} of them, whose numbers are {@code
 * stride} apart. With Megatron's order of ranks, tp-ep-dp, all groups of a layout have this form,
 * and a node holds consecutive ranks.
 *
 * @param size n, how many ranks
 * @param stride the difference between the numbers of two neighbours
 */
public record RankSpan(int size, int stride) {

  /** How many ranks of the group are in one node. */
  public int inNode(int gpusPerNode) {
    return Math.max(1, Math.min(size, gpusPerNode / stride));
  }

  /** Whether the group has ranks on several nodes. */
  public boolean spansNodes(int gpusPerNode) {
    return inNode(gpusPerNode) < size;
  }

  /** Whether the group is a single rank, which communicates with no other. */
  public boolean isAlone() {
    return size == 1;
  }
}
