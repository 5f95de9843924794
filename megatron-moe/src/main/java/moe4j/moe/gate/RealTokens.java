package moe4j.moe.gate;

import java.util.Arrays;
import moe4j.kernels.experts.TokenRouter;
import moe4j.tensor.Scopes;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The tokens that a gate decides for: all that it is given, except those which the pass says are
 * padding ({@link Pass#padding}). Padding has no choices and no part in losses and figures, and
 * takes no room. Only the device knows how many tokens are real, so that numbers which depend on it
 * are tensors.
 */
public final class RealTokens {
  private static final Scalar ONE = Scopes.keep(() -> new Scalar(1));

  private final long rows;
  private final Tensor padding;

  /** An fp64 scalar, computed when it is first asked for. */
  private Tensor count;

  private RealTokens(long rows, Tensor padding) {
    this.rows = rows;
    this.padding = padding;
  }

  /**
   * The real ones among the tokens that are routed together.
   *
   * @param rows T, all of them
   * @throws IllegalArgumentException if the pass tells of another number of tokens
   */
  public static RealTokens of(long rows, Pass pass) {
    Tensor padding = pass.padding();
    if (padding != null && padding.numel() != rows) {
      throw new IllegalArgumentException(
          "the pass says of %d tokens whether they are padding, but %d are routed"
              .formatted(padding.numel(), rows));
    }
    return new RealTokens(rows, padding);
  }

  /** Whether all tokens are real, since the pass has no padding. */
  public boolean all() {
    return padding == null;
  }

  /**
   * What a router has to know beside its logits.
   *
   * @param choiceBias fp32 [E], added to the scores for the choice alone, or null
   */
  TokenRouter.Beside beside(Tensor choiceBias) {
    return new TokenRouter.Beside(choiceBias, padding);
  }

  /** T, padding among them: what shapes are made by. */
  public long rows() {
    return rows;
  }

  /** How many are real, an fp64 scalar; only where they are not {@link #all}. */
  Tensor count() {
    if (count == null) {
      count = padding.logical_not().sum().to(ScalarType.Double);
    }
    return count;
  }

  /** How many are real in each sequence: fp32 [sequences]; only where they are not {@link #all}. */
  Tensor counts(long sequences) {
    Tensor real = padding.logical_not().view(sequences, -1);
    return real.to(ScalarType.Float).sum(1);
  }

  /**
   * Choices without padding's.
   *
   * @param expert int64 [T, k]
   * @return the same, -1 for padding
   */
  public Tensor choices(Tensor expert) {
    return all() ? expert : expert.masked_fill(padding.unsqueeze(1), new Scalar(-1));
  }

  /**
   * Values without padding's: zeros there, whatever they were, and no gradient.
   *
   * @param x [T, ...]
   */
  public Tensor values(Tensor x) {
    return marked(x, 0);
  }

  /** Values, with a number in the place of padding's. */
  Tensor marked(Tensor x, double number) {
    if (all()) {
      return x;
    }
    long[] shape = x.shape();
    Arrays.fill(shape, 1, shape.length, 1);
    return x.masked_fill(padding.view(shape), new Scalar(number));
  }

  /**
   * The mean over the real tokens, or 0 if all tokens are padding.
   *
   * @param x fp32 [T]
   */
  public Tensor mean(Tensor x) {
    return all() ? x.mean() : values(x).sum().div(divisor());
  }

  /**
   * The divisor of means, an fp32 scalar: the number of real tokens, or 1 if all tokens are
   * padding.
   */
  Tensor divisor() {
    return count().clamp_min(ONE).to(ScalarType.Float);
  }

  /**
   * {@code number count / by}, an fp64 scalar with the rounding of the host's arithmetic; only
   * where they are not {@link #all}.
   */
  Tensor share(double number, int by) {
    // By a tensor: libtorch multiplies by a number's reciprocal on a GPU, which rounds otherwise.
    return count().mul(new Scalar(number)).div(torch.full_like(count(), new Scalar(by)));
  }
}
