package moe4j.moe.gate;

import moe4j.tensor.Scopes;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How evenly experts are used, as losses and as figures, for use in gates. P are probabilities,
 * such as a softmax of logits over all experts: fp32 [T, E], a token's adding up to 1. Losses and
 * figures are fp32 scalars.
 */
public final class Balance {
  /** The log's key of {@link #entropy}. */
  public static final String ENTROPY = "router entropy";

  private static final Scalar ZERO = Scopes.keep(() -> new Scalar(0));
  private static final Scalar ONE = Scopes.keep(() -> new Scalar(1));

  private Balance() {}

  /**
   * The Switch loss (Fedus et al. 2021, eq. 4, with k choices a token): 1 where balanced, E where
   * all goes to one expert.
   *
   * <pre>  E / (k T^2) sum_e tokens[e] sum_t P[t, e]</pre>
   *
   * It is a product of two means over the micro-batch, so it depends on how a batch is cut into
   * micro-batches: the mean of the parts' losses is not the whole's.
   *
   * @param probabilities P
   * @param tokens [E], how often each expert was chosen
   * @param topk k
   */
  public static Tensor switchLoss(Tensor probabilities, Tensor tokens, int topk) {
    double count = (double) probabilities.size(0);
    double experts = (double) probabilities.size(1);
    return probabilities
        .sum(0)
        .mul(tokens.to(ScalarType.Float))
        .sum()
        .mul(new Scalar(experts / (topk * count * count)));
  }

  /**
   * The same loss of real tokens only.
   *
   * @param tokens [E], how often each expert was chosen by these
   */
  public static Tensor switchLoss(Tensor probabilities, Tensor tokens, int topk, RealTokens real) {
    if (real.all()) {
      return switchLoss(probabilities, tokens, topk);
    }
    double experts = (double) probabilities.size(1);
    Tensor count = real.divisor();
    Tensor mass = real.values(probabilities).sum(0).div(count);
    Tensor shares = tokens.to(ScalarType.Float).div(count);
    return mass.mul(shares).sum().mul(new Scalar(experts / topk));
  }

  /**
   * The mean of each sequence's Switch loss (DeepSeek-V2's sequence-wise loss); it does not depend
   * on how a batch of sequences is cut into micro-batches.
   *
   * @param probabilities P, the sequences one behind the other
   * @param chosen int64 [T, k]
   * @param sequences B, which divides T
   */
  public static Tensor sequenceLoss(Tensor probabilities, Tensor chosen, long sequences) {
    long experts = probabilities.size(1);
    double length = probabilities.size(0) / (double) sequences;
    double topk = (double) chosen.size(1);
    Tensor named = chosen.view(sequences, -1);
    Tensor zeros = torch.zeros(new long[] {sequences, experts}, probabilities.options());
    Tensor ones = torch.ones(named.shape(), probabilities.options());
    Tensor tokens = zeros.scatter_add(1, named, ones);
    Tensor mass = probabilities.view(sequences, -1, experts).sum(1);
    return mass.mul(tokens).sum().mul(new Scalar(experts / (topk * length * length * sequences)));
  }

  /**
   * The same loss of real tokens only: each sequence's loss is of its own real tokens, and the mean
   * is over the sequences that have any.
   *
   * @param chosen int64 [T, k], -1 for padding
   */
  public static Tensor sequenceLoss(
      Tensor probabilities, Tensor chosen, long sequences, RealTokens real) {
    if (real.all()) {
      return sequenceLoss(probabilities, chosen, sequences);
    }
    long experts = probabilities.size(1);
    Tensor named = chosen.view(sequences, -1);
    Tensor zeros = torch.zeros(new long[] {sequences, experts}, probabilities.options());
    Tensor ones = named.ge(ZERO).to(ScalarType.Float);
    Tensor tokens = zeros.scatter_add(1, named.clamp_min(ZERO), ones);
    Tensor mass = real.values(probabilities).view(sequences, -1, experts).sum(1);
    Tensor lengths = real.counts(sequences);
    Tensor each = mass.mul(tokens).sum(1).div(lengths.clamp_min(ONE).square());
    Tensor present = lengths.gt(ZERO).sum().clamp_min(ONE);
    return each.sum().div(present).mul(new Scalar((double) experts / chosen.size(1)));
  }

  /** {@code mean_t logsumexp(logits[t])^2} (Zoph et al. 2022), which keeps logits small. */
  public static Tensor zLoss(Tensor logits) {
    return logits.logsumexp(1).square().mean();
  }

  /** The same of real tokens alone. */
  public static Tensor zLoss(Tensor logits, RealTokens real) {
    return real.mean(logits.logsumexp(1).square());
  }

  /** The squared coefficient of variation, var / (mean^2 + 1e-10), with the sample's variance. */
  public static Tensor cvSquared(Tensor x) {
    if (x.numel() == 1) {
      return x.sum().mul(new Scalar(0));
    }
    Tensor mean = x.mean();
    Tensor variance = x.sub(mean).square().sum().mul(new Scalar(1 / (double) (x.numel() - 1)));
    return variance.div(mean.square().add(new Scalar(1e-10)));
  }

  /**
   * How often each expert is chosen: int64 [E], of int64 indices of any shape; -1 is not counted.
   */
  public static Tensor counts(Tensor chosen, int experts) {
    Tensor flat = chosen.flatten();
    Tensor valid = flat.ge(new Scalar(0)).to(ScalarType.Long);
    Tensor zeros = torch.zeros(new long[] {experts}, flat.options());
    return zeros.scatter_add(0, flat.clamp_min(new Scalar(0)), valid);
  }

  /**
   * The mean over tokens of {@code -sum_e P[t, e] ln P[t, e]}, in nats: ln E where all experts are
   * equally probable, 0 where one has probability 1. It has no gradient.
   */
  public static Tensor entropy(Tensor probabilities) {
    Tensor p = probabilities.detach();
    double tokens = (double) Math.max(1, p.size(0));
    return torch.special_entr(p).sum().mul(new Scalar(1 / tokens));
  }

  /** The same of real tokens alone. */
  public static Tensor entropy(Tensor probabilities, RealTokens real) {
    return real.all()
        ? entropy(probabilities)
        : real.mean(torch.special_entr(probabilities.detach()).sum(1));
  }

  /** In training, leaves {@link #entropy} of the real tokens in the pass, for the log. */
  public static void leaveEntropy(Tensor probabilities, int layer, Pass pass) {
    if (pass.isTraining()) {
      Tensor entropy = entropy(probabilities, RealTokens.of(probabilities.size(0), pass));
      pass.addFigure(new Pass.Figure(ENTROPY, layer, entropy));
    }
  }
}
