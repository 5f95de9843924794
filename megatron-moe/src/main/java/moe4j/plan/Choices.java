package moe4j.plan;

/**
 * The choices that are the same for all layouts that are compared.
 *
 * @param overlapGradReduce whether gradients are reduced bucket by bucket during the backward
 * @param imbalance rows of the fullest expert rank divided by the mean, at least 1
 * @param state what the optimizer keeps
 */
public record Choices(boolean overlapGradReduce, double imbalance, StateBytes state) {

  /** Refuses an imbalance below 1. */
  public Choices {
    if (!(imbalance >= 1)) {
      throw new IllegalArgumentException(
          "--load-imbalance %s: the fullest rank has the mean at least".formatted(imbalance));
    }
  }

  /** Choices whose optimizer keeps all in fp32. */
  Choices(boolean overlapGradReduce, double imbalance) {
    this(overlapGradReduce, imbalance, StateBytes.WHOLE);
  }

  /** Whether a layout's gradients are reduced while its backward computes them. */
  boolean reducesInBackward(PlannedLayout layout) {
    return overlapGradReduce && layout.dp() > 1;
  }

  /** Elements of a bucket: Megatron's {@code max(40e6, 1e6 DP)}. */
  static double bucket(PlannedLayout layout) {
    return Math.max(40e6, 1e6 * layout.dp());
  }

  /**
   * Whether there are sums of gradients beside the gradients that a backward leaves. Several ranks
   * always have them, tensor-parallel ones too. On one, a backward itself adds micro-batches up
   * where the sums are in its own type.
   */
  boolean sums(PlannedModel model, PlannedLayout layout) {
    boolean own = !model.bf16() || state.gradient() == model.bytes();
    return layout.worldSize() > 1 || (layout.microBatches() > 1 && !own);
  }

  /** Whether the products that make experts' gradients add them to fp32 sums of one rank. */
  boolean addsInPlace(PlannedModel model, PlannedLayout layout) {
    return sums(model, layout)
        && model.bf16()
        && layout.worldSize() == 1
        && state.gradient() > model.bytes();
  }
}
