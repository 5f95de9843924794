package moe4j.cost;

/**
 * How tokens are spread over experts.
 *
 * @param experts E
 * @param topk k, experts a token goes to
 * @param gathers whether all ranks that have a copy of the experts together get all their tokens,
 *     and not only those for their own experts
 * @param capacity rows an expert takes at most, over the mean; infinite where it takes all
 * @param padded whether each expert is given as many rows as that
 */
public record TokenSpread(int experts, int topk, boolean gathers, double capacity, boolean padded) {

  /**
   * Rows of the fullest rank's experts over the mean: the capacity where all are padded to it, else
   * the imbalance, which a capacity bounds; 1 where a rank has all experts.
   */
  public double load(Placement placement) {
    if (placement.imbalance() == Placement.AS_CHOSEN) {
      return 1;
    }
    if (padded) {
      return capacity;
    }
    double uneven = placement.expert() == 1 ? 1 : placement.imbalance();
    return Math.min(uneven, Math.max(1, capacity));
  }
}
