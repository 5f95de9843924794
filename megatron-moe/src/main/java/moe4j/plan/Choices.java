package moe4j.plan;

/**
 * The choices that are the same for all layouts that are compared.
 *
 * @param overlapGradReduce whether gradients are reduced bucket by bucket during the backward
 * @param imbalance rows of the fullest expert rank divided by the mean, at least 1
 */
public record Choices(boolean overlapGradReduce, double imbalance) {

  /** Refuses an imbalance below 1. */
  public Choices {
    if (!(imbalance >= 1)) {
      throw new IllegalArgumentException(
          "--load-imbalance %s: the fullest rank has the mean at least".formatted(imbalance));
    }
  }

  /** Whether a layout's gradients are reduced while its backward computes them. */
  boolean reducesInBackward(PlannedLayout layout) {
    return overlapGradReduce && layout.dp() > 1;
  }

  /** Elements of a bucket: Megatron's {@code max(40e6, 1e6 DP)}. */
  static double bucket(PlannedLayout layout) {
    return Math.max(40e6, 1e6 * layout.dp());
  }

  /** Whether there are fp32 sums of gradients, beside the gradients that a backward leaves. */
  static boolean sums(PlannedModel model, PlannedLayout layout) {
    return model.bf16() && (layout.dp() > 1 || layout.microBatches() > 1);
  }
}
