package moe4j.moe.gate;

import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How much of a batch FastMoE's gates with a capacity let an expert take, over its even share.
 *
 * @param training the rate in training
 * @param evaluation the rate else
 * @param padded whether every expert gets exactly as many rows
 */
public record Quota(double training, double evaluation, boolean padded) {
  /** FastMoE's: 1.2 in training, 2.4 else. */
  public static final Quota DEFAULT = new Quota(1.2, 2.4, false);

  /** Refuses rates that are not positive. */
  public Quota {
    if (!(training > 0 && evaluation > 0)) {
      throw new IllegalArgumentException(
          "capacity rates of %s in training and %s in evaluation: both must be positive"
              .formatted(training, evaluation));
    }
  }

  /** {@code ceil(rate T)}. */
  public long tokens(long tokens, Pass pass) {
    return (long) Math.ceil((pass.isTraining() ? training : evaluation) * tokens);
  }

  /** The same for real tokens only, which the device counts: int64, a scalar. */
  Tensor tokens(RealTokens real, Pass pass) {
    double rate = pass.isTraining() ? training : evaluation;
    return real.count().mul(new Scalar(rate)).ceil().to(ScalarType.Long);
  }

  /** Routes choices of which each expert has at most {@code rows}. */
  public Routing route(Tensor expert, Tensor weight, int experts, long rows) {
    return padded
        ? Routing.padded(expert, weight, experts, Math.min(rows, expert.size(0)))
        : Routing.ofChoices(expert, weight, experts);
  }
}
