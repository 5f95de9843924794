package moe4j.moe.gate;

import java.util.List;
import moe4j.kernels.experts.RouterScore;

/**
 * How Megatron's router works.
 *
 * @param score what is compared
 * @param scaling what the weights are multiplied by
 * @param groups of experts, of the best of which a token's are taken
 * @param biasUpdateRate what a bias that follows the load changes by at each step, or null without
 *     such a bias
 * @param jitter in training the router's input is multiplied by draws from U[1 - jitter, 1 +
 *     jitter)
 * @param forcedBalance whether logits are drawn at random in training: for benchmarks only
 * @param balance the balance losses
 * @param zLoss coefficient of the z-loss, or null without one
 */
public record RouterConfig(
    Score score,
    double scaling,
    ExpertGroups groups,
    Double biasUpdateRate,
    double jitter,
    boolean forcedBalance,
    List<BalanceLoss> balance,
    Double zLoss) {

  /** The scores by which the router compares experts, computed from the logits: fp32 [T, E]. */
  public enum Score {
    /** The logits themselves. */
    LOGITS(RouterScore.LOGITS),
    /** A softmax over all experts. */
    SOFTMAX(RouterScore.SOFTMAX),
    /** Each logit's sigmoid. */
    SIGMOID(RouterScore.SIGMOID),
    /** The root of each logit's softplus. */
    SQRTSOFTPLUS(RouterScore.SQRTSOFTPLUS);

    private final RouterScore formulas;

    Score(RouterScore formulas) {
      this.formulas = formulas;
    }

    /** How it is computed. */
    RouterScore formulas() {
      return formulas;
    }
  }

  /** What a balance loss takes its means over. */
  public enum BalanceKind {
    /** A micro-batch. */
    AUX_LOSS("load_balancing_loss"),
    /** A sequence. */
    SEQ_AUX_LOSS("seq_load_balancing_loss"),
    /** A step so far. */
    GLOBAL_AUX_LOSS("global_load_balancing_loss");

    private final String key;

    BalanceKind(String key) {
      this.key = key;
    }

    /** Megatron's log key. */
    public String key() {
      return key;
    }
  }

  /**
   * A balance loss.
   *
   * @param coefficient its weight; with 0 it is not computed and logged as 0, as Megatron does
   */
  public record BalanceLoss(BalanceKind kind, double coefficient) {}

  /**
   * Groups into which the experts are divided.
   *
   * @param count how many there are
   * @param topk of how many a token's experts are taken
   */
  public record ExpertGroups(int count, int topk) {
    /** All experts are one group. */
    public static final ExpertGroups ONE = new ExpertGroups(1, 1);
  }

  /** Copies the list. */
  public RouterConfig {
    balance = List.copyOf(balance);
  }

  /** A router with a softmax over the chosen logits, and nothing that balances the load. */
  public static RouterConfig plain() {
    return new RouterConfig(Score.LOGITS, 1, ExpertGroups.ONE, null, 0, false, List.of(), null);
  }

  /** A router with a softmax over the chosen logits and the balance loss over micro-batches. */
  public static RouterConfig withAuxLoss(double coefficient) {
    RouterConfig plain = plain();
    return new RouterConfig(
        plain.score,
        plain.scaling,
        plain.groups,
        plain.biasUpdateRate,
        plain.jitter,
        plain.forcedBalance,
        List.of(new BalanceLoss(BalanceKind.AUX_LOSS, coefficient)),
        plain.zLoss);
  }

  /** The same with other scores. */
  public RouterConfig withScore(Score other) {
    return new RouterConfig(
        other, scaling, groups, biasUpdateRate, jitter, forcedBalance, balance, zLoss);
  }

  /** The same with a bias that follows the load. */
  public RouterConfig withExpertBias(double updateRate) {
    return new RouterConfig(
        score, scaling, groups, updateRate, jitter, forcedBalance, balance, zLoss);
  }

  /** Whether a balance loss counts. */
  boolean hasBalanceLoss() {
    return balance.stream().anyMatch(b -> b.coefficient() > 0);
  }
}
