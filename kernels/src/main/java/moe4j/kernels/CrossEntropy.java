package moe4j.kernels;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The loss of each row of logits: {@code logsumexp(x) - x[label]}, in fp32. */
public final class CrossEntropy {
  /** No row is left out by its label; libtorch asks for a value all the same. */
  private static final long NO_IGNORED_LABEL = -100;

  /** libtorch's number for "no reduction". */
  private static final long NONE = 0;

  private CrossEntropy() {}

  /**
   * The loss of each row.
   *
   * @param logits [T, V]
   * @param labels int64 [T], each in [0, V)
   * @return fp32 [T]
   */
  public static Tensor loss(Tensor logits, Tensor labels) {
    return torch.cross_entropy_loss(
        logits.to(ScalarType.Float), labels, new TensorOptional(), NONE, NO_IGNORED_LABEL, 0.0);
  }
}
