package moe4j.cost;

import java.util.List;

/**
 * What attention computes between its projections, forward and backward.
 *
 * @param kind which kernel computes it: {@code plan} knows how much of a GPU's peak each reaches
 * @param queries how many queries a sample has
 * @param pairs how many pairs of a query and a key that it sees a sample has; causal attention has
 *     about half of the square
 * @param products how many products of vectors there are for each pair: 2, one for its score and
 *     one with its value
 * @param channels channels of all heads together
 * @param headChannels channels of one head
 * @param weights attention's weights, if they pass through memory, as they do with dropout; empty
 *     if they stay within a kernel
 */
public record AttentionCore(
    Kind kind,
    double queries,
    double pairs,
    int products,
    Width channels,
    int headChannels,
    List<Amount> weights) {

  /** Which kernel computes attention. */
  public enum Kind {
    /** Scores of queries and keys: {@code scaled_dot_product_attention}. */
    PLAIN,
    /** Scores of queries with keys and with relative positions, as in Transformer-XL. */
    RELATIVE
  }

  /** Copies the list. */
  public AttentionCore {
    weights = List.copyOf(weights);
  }

  /**
   * FLOPs of one rank: {@code 2 (a multiplication and an addition) x 3 (forward, and two gradients)
   * x products x pairs x channels}.
   */
  public double flops(Placement placement) {
    return 2 * 3 * products * (placement.samples() * pairs) * channels.on(placement);
  }

  /** Keys that a query sees, on average. */
  public double visible() {
    return pairs / queries;
  }
}
