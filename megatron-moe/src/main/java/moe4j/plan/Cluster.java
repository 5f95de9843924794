package moe4j.plan;

/**
 * Equal nodes of equal GPUs, and what their collectives take: seconds for {@code alpha + bytes /
 * beta}, by rings, which are NCCL's choice for large messages, and pairwise exchanges (Thakur et
 * al. 2005). Small messages on many ranks, for which NCCL has trees, are faster than that.
 *
 * @param gpu what there is of each
 * @param worldSize GPUs in all
 * @param gpusPerNode of a node
 * @param intraNode bytes a second that a GPU sends within its node, one way
 * @param interNode bytes a second that a GPU sends to other nodes, one way
 * @param latency seconds from one rank to the next, alpha
 */
public record Cluster(
    Gpu gpu, int worldSize, int gpusPerNode, double intraNode, double interNode, double latency) {

  /** What may be filled of a GPU's memory: the allocator's blocks never fit to the last byte. */
  private static final double USABLE = 0.95;

  /** Refuses what is no cluster. */
  public Cluster {
    if (worldSize < 1) {
      throw new IllegalArgumentException("--world-size %d is not positive".formatted(worldSize));
    }
    if (gpusPerNode < 1) {
      throw new IllegalArgumentException(
          "--gpus-per-node %d is not positive".formatted(gpusPerNode));
    }
    if (worldSize > gpusPerNode && worldSize % gpusPerNode != 0) {
      throw new IllegalArgumentException(
          "--world-size %d is no multiple of --gpus-per-node %d: the nodes are taken to be equal"
              .formatted(worldSize, gpusPerNode));
    }
    positive("gpu-memory-gib", gpu.memory() / Gpu.GIB);
    positive("intra-node-gbs", intraNode / 1e9);
    positive("inter-node-gbs", interNode / 1e9);
    if (!(latency >= 0)) {
      throw new IllegalArgumentException(
          "--link-latency-us %s is negative".formatted(1e6 * latency));
    }
  }

  private static void positive(String flag, double value) {
    if (!(value > 0)) {
      throw new IllegalArgumentException("--%s %s is not positive".formatted(flag, value));
    }
  }

  /** So many GPUs of a kind in its usual nodes of eight, with its usual links. */
  public static Cluster of(Gpu gpu, int worldSize) {
    return new Cluster(gpu, worldSize, 8, gpu.intraNode(), gpu.interNode(), 5e-6);
  }

  /** Bytes of a GPU that a layout may take. */
  public double usable() {
    return USABLE * gpu.memory();
  }

  /**
   * Bytes a second that a ring of the group passes on. Between nodes it goes over the adapters of
   * those GPUs that the group has in a node; the node's other GPUs have groups of their own, and
   * adapters.
   */
  public double ringBandwidth(RankSpan group) {
    return group.spansNodes(gpusPerNode)
        ? Math.min(intraNode, group.inNode(gpusPerNode) * interNode)
        : intraNode;
  }

  /**
   * An all-gather, or a reduce-scatter: {@code (n - 1) alpha + (n - 1) / n bytes / beta}.
   *
   * @param bytes of the whole, of which a rank has an n-th before or after
   */
  public double gather(RankSpan group, double bytes) {
    int n = group.size();
    return (n - 1) * (latency + bytes / n / ringBandwidth(group));
  }

  /**
   * An all-reduce, a reduce-scatter and an all-gather: {@code 2 (n - 1) alpha + 2 (n - 1) / n bytes
   * / beta}.
   *
   * @param bytes of a rank's summand
   */
  public double reduce(RankSpan group, double bytes) {
    return 2 * gather(group, bytes);
  }

  /**
   * An all-to-all, pair by pair: {@code (n - 1) / n bytes} leave a rank, those for its own node by
   * one link and those for other nodes by the other, at the same time.
   *
   * @param bytes that a rank has for all, its own part among them
   */
  public double exchange(RankSpan group, double bytes) {
    int n = group.size();
    int near = group.inNode(gpusPerNode);
    double each = bytes / n;
    return (n - 1) * latency
        + Math.max((near - 1) * each / intraNode, (n - near) * each / interNode);
  }
}
