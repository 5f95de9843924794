package moe4j.cost;

/**
 * A rank's part of the work: how much of it, and among how many ranks what is divided.
 *
 * @param samples sequences that it works on
 * @param batches micro-batches that they come in
 * @param tensor ranks that share each matrix, TP
 * @param sequenceParallel whether they also share the tokens between the matrices
 * @param expert ranks that share the experts, EP
 * @param expertTensor ranks that share each expert, ETP
 * @param imbalance rows of the fullest of those ranks over the mean, or {@link #AS_CHOSEN}
 */
public record Placement(
    double samples,
    double batches,
    int tensor,
    boolean sequenceParallel,
    int expert,
    int expertTensor,
    double imbalance) {

  /** For rows of experts as gates choose them, nothing dropped and nothing padded. */
  public static final double AS_CHOSEN = 0;

  /** All of the work on one rank, as it counts as the model's: {@link #AS_CHOSEN}. */
  public static Placement counted(double samples, double batches) {
    return new Placement(samples, batches, 1, false, 1, 1, AS_CHOSEN);
  }

  /** Ranks that have all experts together. */
  public int expertRanks() {
    return expert * expertTensor;
  }
}
