package moe4j.plan;

import moe4j.config.Ranges;

/**
 * Equal nodes of equal GPUs, and the time of their collectives. A message takes {@code alpha +
 * bytes / beta} seconds. Collectives go by rings, which are NCCL's choice for large messages, and
 * all-to-alls pair by pair (Thakur et al. 2005). Small messages on many ranks, for which NCCL has
 * trees, are faster than that.
 *
 * @param gpu the kind of all GPUs
 * @param worldSize GPUs in all
 * @param gpusPerNode GPUs of each node
 * @param intraNode bytes a second that a GPU sends within its node, one way
 * @param interNode bytes a second that a GPU sends to other nodes, one way
 * @param latency seconds from one rank to the next, alpha
 */
public record Cluster(
    Gpu gpu, int worldSize, int gpusPerNode, double intraNode, double interNode, double latency) {

  /** The usable share of a GPU's memory: the allocator's blocks never fill it to the last byte. */
  private static final double USABLE = 0.95;

  /** Refuses numbers that are not positive, and nodes that would not be equally full. */
  public Cluster {
    Ranges.positive("world-size", worldSize);
    Ranges.positive("gpus-per-node", gpusPerNode);
    if (worldSize > gpusPerNode && worldSize % gpusPerNode != 0) {
      throw new IllegalArgumentException(
          "--world-size %d is no multiple of --gpus-per-node %d: the nodes are taken to be equal"
              .formatted(worldSize, gpusPerNode));
    }
    Ranges.positive("gpu-memory-gib", gpu.memory() / Gpu.GIB);
    Ranges.positive("intra-node-gbs", intraNode / 1e9);
    Ranges.positive("inter-node-gbs", interNode / 1e9);
    if (!(latency >= 0)) {
      throw new IllegalArgumentException(
          "--link-latency-us %s is negative".formatted(1e6 * latency));
    }
  }

  /** A cluster of so many GPUs of a kind in nodes of eight, with the kind's usual links. */
  public static Cluster of(Gpu gpu, int worldSize) {
    return new Cluster(gpu, worldSize, 8, gpu.intraNode(), gpu.interNode(), 5e-6);
  }

  /** Bytes of a GPU's memory that a layout may use. */
  public double usable() {
    return USABLE * gpu.memory();
  }

  /**
   * Bytes a second that a ring of the group passes on. Between nodes a ring uses the adapters of
   * those GPUs of a node that are in the group; the node's other GPUs are in other groups, which
   * use their adapters.
   */
  public double ringBandwidth(RankSpan group) {
    return group.spansNodes(gpusPerNode)
        ? Math.min(intraNode, group.inNode(gpusPerNode) * interNode)
        : intraNode;
  }

  /**
   * Seconds of an all-gather or a reduce-scatter: {@code (n - 1) alpha + (n - 1) / n bytes / beta}.
   *
   * @param bytes of the whole tensor, of which a rank has an n-th before or after
   */
  public double gather(RankSpan group, double bytes) {
    int n = group.size();
    return (n - 1) * (latency + bytes / n / ringBandwidth(group));
  }

  /**
   * Seconds of an all-reduce, which is a reduce-scatter and an all-gather: {@code 2 (n - 1) alpha +
   * 2 (n - 1) / n bytes / beta}.
   *
   * @param bytes of the tensor that each rank has
   */
  public double reduce(RankSpan group, double bytes) {
    return 2 * gather(group, bytes);
  }

  /**
   * Seconds of an all-to-all, pair by pair: {@code (n - 1) / n bytes} leave a rank. Those for its
   * own node and those for other nodes go over two links at the same time.
   *
   * @param bytes that a rank has for all ranks, itself included
   */
  public double exchange(RankSpan group, double bytes) {
    int n = group.size();
    int near = group.inNode(gpusPerNode);
    double each = bytes / n;
    return (n - 1) * latency
        + Math.max((near - 1) * each / intraNode, (n - near) * each / interNode);
  }
}
