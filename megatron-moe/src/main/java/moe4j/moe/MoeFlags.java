package moe4j.moe;

import java.util.List;
import java.util.function.Supplier;
import moe4j.config.Faults;
import moe4j.moe.gate.GateSpec;
import moe4j.moe.gate.Gates;

/** Whether the flags of {@link MoeConfig} agree with each other. */
final class MoeFlags {
  private final MoeConfig flags;
  private final Integer experts;
  private final int topk;
  private final String strategy;
  private final Faults faults = new Faults();

  private MoeFlags(MoeConfig flags) {
    this.flags = flags;
    this.experts = flags.numExperts();
    this.topk = flags.moeRouterTopk();
    this.strategy = flags.balanceStrategy();
  }

  /**
   * Checks them.
   *
   * @throws IllegalArgumentException in one sentence
   */
  static void check(MoeConfig flags) {
    MoeFlags checks = new MoeFlags(flags);
    Faults faults = checks.faults;
    checks.checkLosses();
    if (flags.enabled()) {
      checks.checkSizes();
      faults.none(checks::checkPadding);
      checks.checkRouter();
      checks.checkGroups();
      faults.none(checks::checkStrategy);
      checks.checkDispatcher();
    }
    faults.refuse();
  }

  private void checkSizes() {
    Integer expertHidden = flags.moeFfnHiddenSize();
    Integer shared = flags.moeSharedExpertIntermediateSize();
    Double capacity = flags.moeExpertCapacityFactor();
    refuse(experts < 1, () -> "--num-experts %d is not positive".formatted(experts));
    refuse(
        topk < 1 || topk > experts,
        () ->
            "--moe-router-topk %d is not between 1 and --num-experts %d".formatted(topk, experts));
    refuse(
        expertHidden != null && expertHidden < 1,
        () -> "--moe-ffn-hidden-size %d is not positive".formatted(expertHidden));
    refuse(
        shared != null && shared < 1,
        () -> "--moe-shared-expert-intermediate-size %d is not positive".formatted(shared));
    refuse(
        capacity != null && !(capacity > 0),
        () -> "--moe-expert-capacity-factor %s is not positive".formatted(capacity));
  }

  private void checkPadding() {
    refuse(
        flags.moePadExpertInputToCapacity()
            && flags.moeExpertCapacityFactor() == null
            && (strategy == null || !Gates.spec(strategy).limit().padsWithoutFactor()),
        "--moe-pad-expert-input-to-capacity needs --moe-expert-capacity-factor");
  }

  private void checkLosses() {
    List<String> types = flags.moeRouterLoadBalancingType();
    List<Double> coefficients = flags.moeAuxLossCoeff();
    Double zLoss = flags.moeZLossCoeff();
    double lossWeight = flags.balanceLossWeight();
    for (double coefficient : coefficients) {
      refuse(
          !(coefficient >= 0), () -> "--moe-aux-loss-coeff %s is negative".formatted(coefficient));
    }
    refuse(
        zLoss != null && !(zLoss >= 0), () -> "--moe-z-loss-coeff %s is negative".formatted(zLoss));
    refuse(!(lossWeight >= 0), () -> "--balance-loss-weight %s is negative".formatted(lossWeight));
    refuse(
        types.size() != coefficients.size() && !types.equals(List.of("none")),
        () ->
            "--moe-router-load-balancing-type names %d losses, --moe-aux-loss-coeff has %d weights"
                .formatted(types.size(), coefficients.size()));
    refuse(
        types.equals(List.of("none")) && coefficients.stream().anyMatch(c -> c > 0),
        "--moe-aux-loss-coeff has no effect with --moe-router-load-balancing-type none");
    refuse(
        types.size() > 1
            && (types.contains("none") || types.stream().distinct().count() < types.size()),
        () ->
            "--moe-router-load-balancing-type %s: several types must differ, and none cannot be one of them"
                .formatted(String.join(" ", types)));
  }

  private void checkRouter() {
    String score = flags.moeRouterScoreFunction();
    boolean preSoftmax = flags.moeRouterPreSoftmax();
    boolean expertBias = flags.moeRouterEnableExpertBias();
    double biasRate = flags.moeRouterBiasUpdateRate();
    Double scaling = flags.moeRouterTopkScalingFactor();
    Double jitter = flags.moeInputJitterEps();
    boolean softmax = score.equals("softmax");
    refuse(
        topk == 1 && !preSoftmax && softmax && experts > 1 && strategy == null,
        "--moe-router-topk 1 needs --moe-router-pre-softmax: a softmax over one expert is 1 and"
            + " teaches the router nothing");
    refuse(
        expertBias && softmax,
        "--moe-router-enable-expert-bias needs --moe-router-score-function sigmoid or sqrtsoftplus");
    refuse(
        !(biasRate >= 0), () -> "--moe-router-bias-update-rate %s is negative".formatted(biasRate));
    refuse(
        scaling != null && !(scaling > 0),
        () -> "--moe-router-topk-scaling-factor %s is not positive".formatted(scaling));
    refuse(
        jitter != null && !(jitter >= 0 && jitter < 1),
        () -> "--moe-input-jitter-eps %s is not in [0, 1)".formatted(jitter));
  }

  private void checkGroups() {
    Integer groups = flags.moeRouterNumGroups();
    Integer groupTopk = flags.moeRouterGroupTopk();
    if (groups == null && groupTopk == null) {
      return;
    }
    if (groups == null || groupTopk == null) {
      refuse(true, "--moe-router-num-groups and --moe-router-group-topk come together");
      return;
    }
    boolean divided = groups > 0 && experts % groups == 0;
    boolean some = groupTopk > 0 && groupTopk <= groups;
    refuse(
        !divided,
        () ->
            "--num-experts %d cannot be divided into --moe-router-num-groups %d"
                .formatted(experts, groups));
    refuse(
        !some,
        () ->
            "--moe-router-group-topk %d is not between 1 and --moe-router-num-groups %d"
                .formatted(groupTopk, groups));
    if (!divided || !some) {
      return;
    }
    refuse(
        topk % groupTopk != 0 || topk / groupTopk > experts / groups,
        () ->
            "--moe-router-topk %d cannot be taken evenly of --moe-router-group-topk %d groups of %d"
                .formatted(topk, groupTopk, experts / groups));
  }

  private void checkDispatcher() {
    int degree = flags.moeA2aOverlapDegree();
    String dispatcher = flags.moeTokenDispatcherType();
    refuse(degree < 1, () -> "--moe-a2a-overlap-degree %d is not positive".formatted(degree));
    refuse(
        degree > 1 && !dispatcher.equals("alltoall"),
        () ->
            "--moe-a2a-overlap-degree %d needs --moe-token-dispatcher-type alltoall, not %s"
                .formatted(degree, dispatcher));
  }

  /** A gate that takes the place of Megatron's router takes none of the router's flags. */
  private void checkStrategy() {
    if (strategy == null) {
      return;
    }
    GateSpec gate = Gates.spec(strategy);
    faults.none(() -> gate.check(topk));
    MoeConfig none = MoeConfig.dense();
    boolean router =
        flags.moeRouterPreSoftmax()
            || !flags.moeRouterLoadBalancingType().equals(none.moeRouterLoadBalancingType())
            || !flags.moeAuxLossCoeff().equals(none.moeAuxLossCoeff())
            || flags.moeZLossCoeff() != null
            || !flags.moeRouterScoreFunction().equals(none.moeRouterScoreFunction())
            || flags.moeRouterTopkScalingFactor() != null
            || flags.moeRouterNumGroups() != null
            || flags.moeRouterEnableExpertBias()
            || flags.moeInputJitterEps() != null
            || flags.moeRouterForceLoadBalancing();
    refuse(
        router,
        () ->
            "--balance-strategy %s replaces Megatron's router: its flags (--moe-router-..., --moe-aux-loss-coeff, --moe-z-loss-coeff, --moe-input-jitter-eps) have no effect on it"
                .formatted(strategy));
    refuse(
        flags.moeExpertCapacityFactor() != null && !gate.limit().takesFactor(),
        () ->
            "--moe-expert-capacity-factor has no effect on --balance-strategy %s"
                .formatted(strategy));
    refuse(
        flags.balanceLossWeight() != none.balanceLossWeight() && gate.isWithoutLoss(),
        () ->
            "--balance-loss-weight has no effect on --balance-strategy %s, which has no loss"
                .formatted(strategy));
    refuse(
        !flags.moeTokenDropPolicy().equals(none.moeTokenDropPolicy()),
        () -> "--moe-token-drop-policy has no effect on --balance-strategy %s".formatted(strategy));
  }

  private void refuse(boolean wrong, Supplier<String> sentence) {
    if (wrong) {
      faults.check(true, "%s", sentence.get());
    }
  }

  private void refuse(boolean wrong, String sentence) {
    faults.check(wrong, "%s", sentence);
  }
}
