package moe4j.moe;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import moe4j.config.Builders;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.experts.GroupedMlp;
import moe4j.moe.gate.Capacity;
import moe4j.moe.gate.GateSpec;
import moe4j.moe.gate.Gates;
import moe4j.moe.gate.Room;
import moe4j.moe.gate.RouterConfig;
import moe4j.moe.gate.RouterConfig.BalanceKind;
import moe4j.moe.gate.RouterConfig.BalanceLoss;
import moe4j.moe.gate.RouterConfig.Score;
import moe4j.moe.gate.TopKRouter;
import moe4j.transformer.LayerShape;

/**
 * The mixture-of-experts layers of a model, by Megatron's flags and FastMoE's; without {@code
 * --num-experts} the model has no such layers.
 */
public record MoeConfig(
    @Flag(help = "experts of each MoE layer, in total; without it the model is dense")
        Integer numExperts,
    @Flag(
            help = "which layers have experts: every N-th, or a pattern such as [0]*1+[1]*11",
            value = "1",
            needs = "num-experts")
        String moeLayerFreq,
    @Flag(
            help = "hidden size of each expert",
            otherwise = "the dense feed-forward layer's; with --fmoefy a k-th of it",
            needs = "num-experts")
        Integer moeFfnHiddenSize,
    @Flag(help = "experts a token goes to", value = "2", needs = "num-experts") int moeRouterTopk,
    @Flag(
            help = "softmax over all experts before the choice, and not over the chosen after it",
            needs = "num-experts")
        boolean moeRouterPreSoftmax,
    @Flag(
            help =
                "how the load is balanced: by losses over micro-batches, sequences or the step, or"
                    + " not; several with as many coefficients",
            value = "aux_loss",
            choices = {"aux_loss", "seq_aux_loss", "global_aux_loss", "none"},
            needs = "num-experts")
        List<String> moeRouterLoadBalancingType,
    @Flag(
            help = "weights of the load-balancing losses (1e-2 is usual)",
            value = "0.0",
            needs = "num-experts",
            insteadOf = {"moe-loss-weight", "moe-loss-coeff"})
        List<Double> moeAuxLossCoeff,
    @Flag(help = "weight of the router's z-loss (1e-3 is usual)", needs = "num-experts")
        Double moeZLossCoeff,
    @Flag(
            help = "what the router makes of its logits",
            value = "softmax",
            choices = {"softmax", "sigmoid", "sqrtsoftplus"},
            needs = "num-experts")
        String moeRouterScoreFunction,
    @Flag(help = "multiply the experts' weights", needs = "num-experts")
        Double moeRouterTopkScalingFactor,
    @Flag(help = "groups into which the experts are divided", needs = "num-experts")
        Integer moeRouterNumGroups,
    @Flag(help = "groups that a token's experts are taken of", needs = "moe-router-num-groups")
        Integer moeRouterGroupTopk,
    @Flag(
            help = "balance by a bias of each expert that follows its load, without a loss",
            needs = "num-experts")
        boolean moeRouterEnableExpertBias,
    @Flag(
            help = "what such a bias changes by at each step",
            value = "1e-3",
            needs = "moe-router-enable-expert-bias")
        double moeRouterBiasUpdateRate,
    @Flag(
            help = "in training multiply the router's input by draws from [1 - X, 1 + X)",
            needs = "num-experts")
        Double moeInputJitterEps,
    @Flag(
            help = "route at random in training, for benchmarks of a balanced load",
            needs = "num-experts")
        boolean moeRouterForceLoadBalancing,
    @Flag(
            help = "rows an expert takes at most, over the mean of all experts",
            otherwise = "all rows are taken",
            needs = "num-experts",
            insteadOf = {"moe-capacity-factor", "moe-train-capacity-factor"})
        Double moeExpertCapacityFactor,
    @Flag(help = "give every expert as many rows as the capacity allows", needs = "num-experts")
        boolean moePadExpertInputToCapacity,
    @Flag(
            help = "which tokens an expert keeps: of the largest weights, or the first",
            value = "probs",
            choices = {"probs", "position"},
            needs = "moe-expert-capacity-factor")
        String moeTokenDropPolicy,
    @Flag(
            help = "hidden size of an expert that every token goes to",
            otherwise = "no such expert",
            needs = "num-experts")
        Integer moeSharedExpertIntermediateSize,
    @Flag(
            help = "gate the shared expert by a sigmoid",
            needs = "moe-shared-expert-intermediate-size")
        boolean moeSharedExpertGate,
    @Flag(
            help = "on one GPU, compute the shared expert on a stream of its own beside the router",
            needs = "moe-shared-expert-intermediate-size",
            onGpu = true)
        boolean moeSharedExpertOverlap,
    @Flag(help = "biases in the experts' layers", needs = "num-experts") boolean addExpertBias,
    @Flag(
            help = "as many active FLOPs as the dense model: experts of a k-th of its hidden size",
            needs = "num-experts")
        boolean fmoefy,
    @Flag(
            help = "FastMoE's name of --moe-router-topk",
            needs = "num-experts",
            insteadOf = {"moe-top-k", "topk"})
        Integer topK,
    @Flag(help = "FastMoE's name of --moe-ffn-hidden-size", needs = "num-experts")
        Integer hiddenHiddenSize,
    @Flag(
            help =
                "a gate in place of Megatron's router: one of the following, or a class that"
                    + " implements moe4j.moe.gate.Gate.Factory.",
            moreHelp = Gates.Help.class,
            needs = "num-experts")
        String balanceStrategy,
    @Flag(
            help = "weight of that gate's loss, averaged over the MoE layers",
            value = "1.0",
            needs = "balance-strategy")
        double balanceLossWeight,
    @Flag(
            help = "how tokens get to the experts of other ranks",
            value = "alltoall",
            choices = {"alltoall", "allgather"},
            needs = "num-experts")
        String moeTokenDispatcherType,
    @Flag(
            help =
                "parts in which tokens go to the experts, each computed while the next is under way"
                    + " (FasterMoE's)",
            value = "1",
            needs = "num-experts")
        int moeA2aOverlapDegree,
    @Flag(
            help =
                "whose kernels multiply the experts' rows on a GPU: moe4j's, which take bf16 on a"
                    + " Hopper (H100, H200), or libtorch's, as elsewhere and for very large experts",
            value = "ours",
            choices = {"ours", "libtorch"},
            needs = "num-experts",
            onGpu = true)
        String moeGroupedProducts)
    implements Flags.Checked {

  /** Takes the values of FastMoE's names over to Megatron's, so that each value has one name. */
  public MoeConfig {
    moeRouterTopk = same("top-k", topK, "moe-router-topk", moeRouterTopk, 2);
    topK = null;
    moeFfnHiddenSize =
        same("hidden-hidden-size", hiddenHiddenSize, "moe-ffn-hidden-size", moeFfnHiddenSize, null);
    hiddenHiddenSize = null;
    moeRouterLoadBalancingType = List.copyOf(moeRouterLoadBalancingType);
    moeAuxLossCoeff = List.copyOf(moeAuxLossCoeff);
  }

  /** A builder whose values are the flags' defaults. */
  public static MoeConfigBuilder builder() {
    return Builders.of(MoeConfig.class, MoeConfigBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public MoeConfigBuilder toBuilder() {
    return Builders.from(this, MoeConfigBuilder.class);
  }

  @Override
  public void check() {
    MoeFlags.check(this);
  }

  /** One value of two flags that mean the same. */
  private static Integer same(
      String alias, Integer aliased, String flag, Integer value, Integer standard) {
    if (aliased == null || aliased.equals(value)) {
      return value;
    }
    if (value != null && !value.equals(standard)) {
      throw new IllegalArgumentException(
          "--%s %d and --%s %d mean the same".formatted(alias, aliased, flag, value));
    }
    return aliased;
  }

  /** The flags of a model without experts. */
  public static MoeConfig dense() {
    return builder().build();
  }

  /** The layers of a command line, such as {@code --num-experts 16 --moe-aux-loss-coeff 0.01}. */
  public static MoeConfig parse(String... flags) {
    return Flags.of(MoeConfig.class).parse(flags).get(MoeConfig.class);
  }

  /** Whether any layer has experts. */
  public boolean enabled() {
    return numExperts != null;
  }

  /**
   * Whether a checkpoint may name this gate, before its class is loaded or a line of it runs: one
   * of moe4j's, the one that this command line names, or a class in {@code MOE4J_CLASSPATH}.
   *
   * @param saved the checkpoint's {@code --balance-strategy}, or null
   * @param typed this command line's, or null
   */
  public static boolean isGateAllowed(String saved, String typed) {
    return Gates.isAllowed(saved, typed, System.getenv("MOE4J_CLASSPATH"));
  }

  /**
   * The hidden size of an expert in a model.
   *
   * @throws IllegalArgumentException where --fmoefy asks for a part that is no whole number
   */
  public int expertHiddenSize(LayerShape model) {
    return expertHiddenSize(model, "--ffn-hidden-size");
  }

  /**
   * The same of a model whose dense hidden size has another flag.
   *
   * @param flag such as {@code --d-inner}
   */
  public int expertHiddenSize(LayerShape model, String flag) {
    if (moeFfnHiddenSize != null) {
      return moeFfnHiddenSize;
    }
    int dense = model.ffnHiddenSize();
    if (!fmoefy) {
      return dense;
    }
    if (dense % moeRouterTopk != 0) {
      throw new IllegalArgumentException(
          "--fmoefy: %s %d is no multiple of the %d experts a token goes to (give --moe-ffn-hidden-size if that is meant)"
              .formatted(flag, dense, moeRouterTopk));
    }
    return dense / moeRouterTopk;
  }

  /**
   * What the experts of one of a model's layers are like.
   *
   * @param layer its global number, from 0
   */
  public GroupedMlp.Shape expertShape(LayerShape model, int layer) {
    return new GroupedMlp.Shape(
            numExperts,
            model.hiddenSize(),
            expertHiddenSize(model),
            model.activation(),
            addExpertBias,
            model.initMethodStd(),
            model.outputStd())
        .withDropout(model.innerDropout(), layer);
  }

  /**
   * Which layers have experts.
   *
   * @throws IllegalArgumentException if {@code --moe-layer-freq} is no pattern of that many layers
   */
  public boolean[] moeLayers(int layers) {
    return moeLayers(layers, "--num-layers");
  }

  /**
   * The same for a model whose number of layers has another flag.
   *
   * @param flag such as {@code --n-layer}
   */
  public boolean[] moeLayers(int layers, String flag) {
    return enabled() ? LayerPattern.of(moeLayerFreq, layers, flag) : new boolean[layers];
  }

  /** How many layers have experts. */
  public int moeLayerCount(int layers) {
    return moeLayerCount(layers, "--num-layers");
  }

  /** The same for a model whose number of layers has another flag. */
  public int moeLayerCount(int layers, String flag) {
    boolean[] moe = moeLayers(layers, flag);
    return (int) IntStream.range(0, moe.length).filter(i -> moe[i]).count();
  }

  /** The room for rows that these flags ask each expert to have. */
  public Room room() {
    return new Room(
        moeExpertCapacityFactor,
        moeTokenDropPolicy.equals("probs") ? Capacity.Policy.PROBS : Capacity.Policy.POSITION,
        moePadExpertInputToCapacity);
  }

  /** What an expert takes at most with Megatron's router; null where it takes all rows. */
  public Capacity capacity() {
    return room().capacity();
  }

  /**
   * What the gate is like: Megatron's router, or the one that {@code --balance-strategy} names.
   *
   * @throws IllegalArgumentException in one sentence where there is no such gate
   */
  public GateSpec gate() {
    return balanceStrategy == null ? TopKRouter.spec(router()) : Gates.spec(balanceStrategy);
  }

  /** How tokens get to other ranks' experts. */
  public TokenDispatcher.Kind tokenDispatcher() {
    return moeTokenDispatcherType.equals("allgather")
        ? TokenDispatcher.Kind.ALL_GATHER
        : TokenDispatcher.Kind.ALL_TO_ALL;
  }

  /** Whose kernels multiply the experts' rows on a GPU. */
  public GroupedMlp.Products groupedProducts() {
    return moeGroupedProducts.equals("ours")
        ? GroupedMlp.Products.OURS
        : GroupedMlp.Products.LIBTORCH;
  }

  /** Whether each expert gets a number of rows that the host knows before the gate has routed. */
  boolean isPadded() {
    return gate().limit().pads(moePadExpertInputToCapacity);
  }

  /** How Megatron's router works. */
  public RouterConfig router() {
    Score score =
        switch (moeRouterScoreFunction) {
          case "sigmoid" -> Score.SIGMOID;
          case "sqrtsoftplus" -> Score.SQRTSOFTPLUS;
          default -> moeRouterPreSoftmax ? Score.SOFTMAX : Score.LOGITS;
        };
    List<BalanceLoss> balance = new ArrayList<>();
    for (int i = 0; i < moeRouterLoadBalancingType.size(); i++) {
      switch (moeRouterLoadBalancingType.get(i)) {
        case "aux_loss" -> balance.add(loss(BalanceKind.AUX_LOSS, i));
        case "seq_aux_loss" -> balance.add(loss(BalanceKind.SEQ_AUX_LOSS, i));
        case "global_aux_loss" -> balance.add(loss(BalanceKind.GLOBAL_AUX_LOSS, i));
        default -> {}
      }
    }
    return new RouterConfig(
        score,
        moeRouterTopkScalingFactor == null ? 1 : moeRouterTopkScalingFactor,
        moeRouterNumGroups == null
            ? RouterConfig.ExpertGroups.ONE
            : new RouterConfig.ExpertGroups(moeRouterNumGroups, moeRouterGroupTopk),
        moeRouterEnableExpertBias ? moeRouterBiasUpdateRate : null,
        moeInputJitterEps == null ? 0 : moeInputJitterEps,
        moeRouterForceLoadBalancing,
        balance,
        moeZLossCoeff);
  }

  private BalanceLoss loss(BalanceKind kind, int index) {
    return new BalanceLoss(kind, moeAuxLossCoeff.get(index));
  }

  /** Warnings for a user who trains with these flags: a sentence each. */
  public List<String> warnings() {
    List<String> warnings = new ArrayList<>();
    if (enabled() && moeRouterTopk != numExperts && !gate().isBalanced(balanceLossWeight > 0)) {
      warnings.add(
          ("--num-experts %d%s with nothing that balances their load: a few experts may get"
                  + " all tokens (--moe-aux-loss-coeff 1e-2 is usual)")
              .formatted(
                  numExperts,
                  balanceStrategy == null ? "" : " --balance-strategy " + balanceStrategy));
    }
    if (gate().choice().byExperts()) {
      warnings.add(
          ("--balance-strategy %s: whether an expert takes a token depends on later tokens of its"
                  + " sequence, so the loss of a causal model is too good")
              .formatted(balanceStrategy));
    }
    return warnings;
  }
}
