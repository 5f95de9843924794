package moe4j.plan;

/**
 * What is the same for all layouts that are compared.
 *
 * @param overlapGradReduce reduce gradients bucket by bucket while the backward goes on
 * @param imbalance rows of the fullest expert rank over the mean
 */
public record Choices(boolean overlapGradReduce, double imbalance) {

  /** Refuses what is no imbalance. */
  public Choices {
    if (!(imbalance >= 1)) {
      throw new IllegalArgumentException(
          "--load-imbalance %s: the fullest rank has the mean at least".formatted(imbalance));
    }
  }

  /** Whether a layout's backward gives its gradients away as it makes them. */
  boolean reducesInBackward(PlannedLayout layout) {
    return overlapGradReduce && layout.dp() > 1;
  }

  /** Elements of a bucket: Megatron's {@code max(40e6, 1e6 DP)}. */
  static double bucket(PlannedLayout layout) {
    return Math.max(40e6, 1e6 * layout.dp());
  }

  /** Whether gradients are summed in fp32 memory of their own, beside what a backward leaves. */
  static boolean sums(PlannedModel model, PlannedLayout layout) {
    return model.bf16() && (layout.dp() > 1 || layout.microBatches() > 1);
  }
}
