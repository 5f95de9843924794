package moe4j.cost;

import java.util.List;

/**
 * What attention computes between its projections, forward and backward.
 *
 * @param kind how fast it is
 * @param queries of a sample
 * @param pairs of a query and a key that it sees, of a sample
 * @param products of each pair's vectors: 2 for a score and its value
 * @param channels of all heads
 * @param headChannels of one head
 * @param weights attention's weights, where they pass through memory and not only through a kernel
 */
public record AttentionCore(
    Kind kind,
    double queries,
    double pairs,
    int products,
    Width channels,
    int headChannels,
    List<Amount> weights) {

  /** How fast attention is. */
  public enum Kind {
    /** Queries and keys. */
    PLAIN,
    /** Queries, keys and relative positions. */
    RELATIVE
  }

  /** Copies the list. */
  public AttentionCore {
    weights = List.copyOf(weights);
  }

  /** FLOPs of one rank. */
  public double flops(Placement placement) {
    return 2 * 3 * products * (placement.samples() * pairs) * channels.on(placement);
  }

  /** Keys that a query sees, on average. */
  public double visible() {
    return pairs / queries;
  }
}
