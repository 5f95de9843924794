package moe4j.kernels.experts;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** The scores by which a router compares experts, computed from the logits, fp32 [T, E]. */
public enum RouterScore {
  /** The logits themselves. */
  LOGITS,
  /** A softmax over all experts. */
  SOFTMAX,
  /** Each logit's sigmoid. */
  SIGMOID,
  /** The root of each logit's softplus. */
  SQRTSOFTPLUS;

  /**
   * The scores, [T, E] in the logits' type.
   *
   * @param logits [T, E]
   */
  public Tensor of(Tensor logits) {
    return switch (this) {
      case LOGITS -> logits;
      case SOFTMAX -> logits.softmax(1);
      case SIGMOID -> logits.sigmoid();
      case SQRTSOFTPLUS -> root(torch.softplus(logits));
    };
  }

  /** Roots, whose slope is taken to be 0 where they are 0, as token_router.cu does. */
  private static Tensor root(Tensor values) {
    // By the chain rule libtorch multiplies a root's infinite slope at 0 by softplus's slope of 0.
    Tensor isZero = values.eq(new Scalar(0));
    return values.masked_fill(isZero, new Scalar(1)).sqrt().masked_fill(isZero, new Scalar(0));
  }

  /** Whether an expert's score depends on its logit alone. */
  public boolean isSeparate() {
    return this == SIGMOID || this == SQRTSOFTPLUS;
  }

  /** Each row divided by its sum: of positive scores [T, n], [T, n]. */
  public static Tensor normalised(Tensor scores) {
    long[] dim = {1};
    Tensor sums = scores.sum(dim, true, new ScalarTypeOptional());
    return scores.div(sums.add(new Scalar(1e-20)));
  }

  /**
   * Probabilities, whose rows add up to 1.
   *
   * @param logits [T, E]
   * @param scores what {@link #of} makes of them
   * @return [T, E]
   */
  public Tensor probabilities(Tensor logits, Tensor scores) {
    return switch (this) {
      case LOGITS -> logits.softmax(1);
      case SOFTMAX -> scores;
      case SIGMOID, SQRTSOFTPLUS -> normalised(scores);
    };
  }

  /**
   * What the chosen experts count: their logits' softmax, their probabilities, or their scores
   * divided by the sum of these where there are several.
   *
   * @param chosen the scores of the chosen ones, [T, k]
   * @param scaling what all are multiplied by
   * @return [T, k]
   */
  public Tensor weights(Tensor chosen, double scaling) {
    Tensor weights = chosen;
    if (this == LOGITS) {
      weights = chosen.softmax(1);
    } else if (isSeparate() && chosen.size(1) > 1) {
      weights = normalised(chosen);
    }
    return scaling == 1 ? weights : weights.mul(new Scalar(scaling));
  }
}
