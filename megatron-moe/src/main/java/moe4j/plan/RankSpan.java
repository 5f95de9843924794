package moe4j.plan;

/**
 * The ranks that talk to each other in one collective: {@code size} of them, each {@code stride}
 * behind the last. With Megatron's order of ranks, tp-ep-dp, all groups of a layout have this form,
 * and a node holds consecutive ranks.
 *
 * @param size ranks, n
 * @param stride from one to the next
 */
public record RankSpan(int size, int stride) {

  /** Ranks of a group that share a node: the stride decides, not the size alone. */
  public int inNode(int gpusPerNode) {
    return Math.max(1, Math.min(size, gpusPerNode / stride));
  }

  /** Whether the group has ranks on several nodes. */
  public boolean spansNodes(int gpusPerNode) {
    return inNode(gpusPerNode) < size;
  }

  /** Whether there is anybody to talk to. */
  public boolean isAlone() {
    return size == 1;
  }
}
