package moe4j.cost;

/**
 * The work of one rank: how many samples it computes, and with how many ranks it shares what.
 *
 * @param samples how many sequences it computes
 * @param batches in how many micro-batches
 * @param tensor TP, ranks that share each matrix
 * @param sequenceParallel whether they also share the tokens between the matrices
 * @param expert EP, ranks that share the experts
 * @param expertTensor ETP, ranks that share each expert
 * @param imbalance rows of the fullest of the EP ranks divided by their mean; or {@link #AS_CHOSEN}
 */
public record Placement(
    double samples,
    double batches,
    int tensor,
    boolean sequenceParallel,
    int expert,
    int expertTensor,
    double imbalance) {

  /**
   * In the place of an imbalance: experts' rows are counted as tokens choose them, T k in all, with
   * nothing dropped and nothing padded.
   */
  public static final double AS_CHOSEN = 0;

  /** All of the work on one rank, as model FLOPs count it: {@link #AS_CHOSEN}. */
  public static Placement counted(double samples, double batches) {
    return new Placement(samples, batches, 1, false, 1, 1, AS_CHOSEN);
  }

  /** EP ETP, the ranks that together have one copy of all experts. */
  public int expertRanks() {
    return expert * expertTensor;
  }
}
