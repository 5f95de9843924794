package moe4j.cost;

/**
 * How tokens are spread over experts.
 *
 * @param experts E
 * @param topk k, experts a token goes to
 * @param gathers whether all ranks that have a copy of the experts together get all their tokens,
 *     and not only those for their own experts
 * @param capacity rows that an expert takes at most, divided by the mean; infinite if it takes all
 * @param padded whether each expert gets exactly that many rows
 */
public record TokenSpread(int experts, int topk, boolean gathers, double capacity, boolean padded) {

  /**
   * Rows of the fullest rank's experts divided by the mean of all ranks: the capacity if experts
   * are padded to it, 1 if a rank has all experts, and otherwise the imbalance, which a capacity
   * bounds.
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
