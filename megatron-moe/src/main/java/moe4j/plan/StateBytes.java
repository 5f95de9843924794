package moe4j.plan;

import moe4j.kernels.optimizer.MomentType;

/**
 * Bytes that the optimizer keeps of an element.
 *
 * @param master of a bf16 parameter's fp32 master: 4, or the 2 that the parameter lacks
 * @param moments of both moments
 * @param gradient of a sum of gradients, where they are summed
 */
public record StateBytes(double master, double moments, double gradient) {

  /** All in fp32. */
  static final StateBytes WHOLE = new StateBytes(4, 8, 4);

  /**
   * The bytes of a run with these flags; small tensors, which are kept in fp32 in any case, do not
   * count.
   *
   * @param masterStorage null for a GPU's
   */
  public static StateBytes of(
      String mainGradsDtype, String expAvgDtype, String expAvgSqDtype, String masterStorage) {
    return new StateBytes(
        "whole".equals(masterStorage) ? 4 : 2,
        MomentType.of(expAvgDtype).bytes() + MomentType.of(expAvgSqDtype).bytes(),
        mainGradsDtype.equals("bf16") ? 2 : 4);
  }
}
