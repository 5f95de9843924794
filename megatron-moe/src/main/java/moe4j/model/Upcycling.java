package moe4j.model;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeConfigBuilder;
import moe4j.moe.gate.GateSpec;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Makes a dense model one with experts that computes the same (Komatsuzaki et al. 2023; in shards,
 * He et al. 2024).
 *
 * <p>A feed-forward block of F channels is cut into g shards of F / g, and there are E / g copies
 * of each: expert e is shard {@code e mod g} of copy {@code e / g}. The experts of a copy have
 * equal rows in the router, hence equal logits, and of equals the lowest are chosen first: k being
 * a multiple of g, a token gets copies as a whole. The weights of a token's experts add up to a
 * constant c, so copy i has a p_i with {@code sum_i p_i = c} and each of its shards p_i / g. With
 * the second layer's weights times {@code g / c}, and its bias over c in every expert, that is
 *
 * <pre>sum_i sum_j p_i / g (g / c fc2_j(act(fc1_j(x))) + b / c) = sum_j fc2_j(act(fc1_j(x))) + b,
 * </pre>
 *
 * the dense block, whatever the activation. (Megatron scales both layers by roots, which is exact
 * where the activation is homogeneous.)
 *
 * @param moe the flags of the model with experts
 * @param granularity g
 */
public record Upcycling(MoeConfig moe, int granularity) {
  private static final String DIFFERS = "so that logits would not be the dense model's";
  private static final String VARIES =
      "the weights of a token's experts do not add up to a constant, " + DIFFERS;

  /** Refuses, in one sentence, what would not compute the same. */
  public Upcycling {
    refuse(!moe.enabled(), () -> "--num-experts is required: the experts of each MoE layer");
    checkGate(moe);
    checkShards(moe, granularity);
  }

  private static void checkGate(MoeConfig moe) {
    String strategy = moe.balanceStrategy();
    boolean ofEach = !moe.moeRouterScoreFunction().equals("softmax");
    refuse(moe.moeRouterPreSoftmax(), () -> "--moe-router-pre-softmax: " + VARIES);
    refuse(
        ofEach && moe.moeRouterTopk() == 1,
        () ->
            "--moe-router-score-function %s with --moe-router-topk 1: %s"
                .formatted(moe.moeRouterScoreFunction(), VARIES));
    GateSpec.Weights weights = moe.gate().choice().weights();
    boolean unknown = weights == GateSpec.Weights.UNKNOWN;
    refuse(
        !unknown && !weights.sumToOne(moe.moeRouterTopk()),
        () -> "--balance-strategy %s: %s".formatted(strategy, VARIES));
    refuse(
        unknown,
        () ->
            "--balance-strategy %s: whether the weights of a gate of your own add up to 1 is not known"
                .formatted(strategy));
    refuse(
        moe.moeSharedExpertIntermediateSize() != null,
        () ->
            "--moe-shared-expert-intermediate-size %d: a shared expert would add to the dense block's output, %s"
                .formatted(moe.moeSharedExpertIntermediateSize(), DIFFERS));
  }

  private static void checkShards(MoeConfig moe, int shards) {
    refuse(shards < 1, () -> "--moe-upcycling-granularity %d is not positive".formatted(shards));
    refuse(
        moe.numExperts() % shards != 0,
        () ->
            "--num-experts %d is no multiple of --moe-upcycling-granularity %d"
                .formatted(moe.numExperts(), shards));
    refuse(
        moe.moeRouterTopk() % shards != 0,
        () ->
            "--moe-router-topk %d is no multiple of --moe-upcycling-granularity %d: a token would get a part of the dense block"
                .formatted(moe.moeRouterTopk(), shards));
    Integer groups = moe.moeRouterNumGroups();
    refuse(
        groups != null && moe.numExperts() / groups % shards != 0,
        () ->
            "--moe-router-num-groups %d has groups of %d experts, no multiple of --moe-upcycling-granularity %d: a token would get a part of the dense block"
                .formatted(groups, moe.numExperts() / groups, shards));
    refuse(
        moe.fmoefy() && moe.moeFfnHiddenSize() == null && moe.moeRouterTopk() != shards,
        () ->
            "--fmoefy makes experts of 1/%d of the dense hidden size (--moe-router-topk), --moe-upcycling-granularity of 1/%d"
                .formatted(moe.moeRouterTopk(), shards));
  }

  private static void refuse(boolean wrong, Supplier<String> sentence) {
    if (wrong) {
      throw new IllegalArgumentException(sentence.get());
    }
  }

  /**
   * The flags with what follows from the dense model: the experts' hidden size, and that they have
   * biases.
   *
   * @param flag what the dense block's hidden size is called, without dashes
   * @throws IllegalArgumentException where the dense block cannot be cut, or no layer is to have
   *     experts
   */
  public MoeConfig flags(LayerShape dense, String flag) {
    int channels = dense.ffnHiddenSize();
    refuse(
        channels % granularity != 0,
        () ->
            "--moe-upcycling-granularity %d does not divide the dense model's --%s %d"
                .formatted(granularity, flag, channels));
    int each = channels / granularity;
    refuse(
        moe.moeFfnHiddenSize() != null && moe.moeFfnHiddenSize() != each,
        () ->
            "--moe-ffn-hidden-size %d: of the dense model's --%s %d, --moe-upcycling-granularity %d makes experts of %d"
                .formatted(moe.moeFfnHiddenSize(), flag, channels, granularity, each));
    moe.moeLayers(dense.layers());
    MoeConfigBuilder flags = moe.toBuilder();
    if (moe.expertHiddenSize(dense) != each) {
      flags.moeFfnHiddenSize(each);
    }
    if (dense.bias()) {
      flags.addExpertBias(true);
    }
    return flags.build();
  }

  /** On what it depends that logits are the dense model's: a sentence each, mostly none. */
  public List<String> notes() {
    List<String> notes = new ArrayList<>();
    GateSpec gate = moe.gate();
    Double factor = moe.moeExpertCapacityFactor();
    if (gate.limit().drops(factor != null)) {
      notes.add(
          "%s: logits are the dense model's as long as no token is dropped"
              .formatted(
                  factor == null
                      ? "--balance-strategy %s has a capacity".formatted(gate.name())
                      : "--moe-expert-capacity-factor " + factor));
    }
    boolean leavesOut = gate.draws() == GateSpec.Draws.CHOICES;
    if (leavesOut || (granularity > 1 && gate.partsEquals())) {
      notes.add(
          "%s: logits are the dense model's in evaluation; in training %s"
              .formatted(
                  moe.moeRouterForceLoadBalancing()
                      ? "--moe-router-force-load-balancing"
                      : "--balance-strategy " + gate.name(),
                  leavesOut
                      ? "second experts are left out at random"
                      : "a token gets shards of several copies"));
    }
    return notes;
  }

  /**
   * Gives a model with experts its values; the dense one stays as it is.
   *
   * @param experts the new model's parameters; its routers keep what they were made with
   * @param dense the dense model's parameters
   * @param activation between a feed-forward block's projections
   * @throws IllegalArgumentException where that is not possible: one sentence
   */
  public void fill(ParameterSet experts, ParameterSet dense, Activation activation) {
    refuse(
        dense.all().stream().anyMatch(Parameter::isOfExperts),
        () -> "the model has experts already");
    Map<String, Tensor> from = new HashMap<>();
    dense.all().forEach(p -> from.put(p.name(), p.tensor()));
    for (Parameter parameter : experts.all()) {
      try (PointerScope scope = new PointerScope();
          NoGradGuard guard = new NoGradGuard()) {
        fill(parameter, from, activation.inputs());
      }
    }
    refuse(
        !from.isEmpty(),
        () ->
            "the model's feed-forward blocks have %s, which no dense one has"
                .formatted(from.keySet()));
  }

  /** Fills a parameter and takes what it is made of out of {@code dense}. */
  private void fill(Parameter parameter, Map<String, Tensor> dense, int inputs) {
    String name = parameter.name();
    Tensor target = parameter.tensor();
    Tensor same = dense.remove(name);
    if (same != null) {
      target.copy_(same);
    } else if (name.endsWith(".mlp.router.weight")) {
      Tensor copies = byCopy(target);
      copies.copy_(copies.narrow(1, 0, 1).clone());
    } else if (name.contains(".mlp.experts.")) {
      Tensor source = dense.remove(name.replace(".mlp.experts.", ".mlp."));
      // Biases that the dense model does not have are zeros.
      if (source != null) {
        String part = name.substring(name.lastIndexOf('.', name.lastIndexOf('.') - 1) + 1);
        byCopy(target).copy_(shards(part, source, target.shape(), inputs));
      }
    }
    // What else a gate has stays as it was made.
  }

  /** [E, ...] as [E / g, g, ...]. */
  private Tensor byCopy(Tensor experts) {
    long[] shape = experts.shape();
    long[] split = new long[shape.length + 1];
    split[0] = -1;
    split[1] = granularity;
    System.arraycopy(shape, 1, split, 2, shape.length - 1);
    return experts.view(split);
  }

  /**
   * One copy's experts: [g, ...], or what is the same for all of them.
   *
   * @param part such as {@code linear_fc1.weight}
   * @param stacked the shape of all experts' together
   * @param inputs how many of the first layer's channels the activation makes one of, side by side
   */
  private Tensor shards(String part, Tensor dense, long[] stacked, int inputs) {
    double scaling =
        moe.moeRouterTopkScalingFactor() == null ? 1 : moe.moeRouterTopkScalingFactor();
    return switch (part) {
      case "linear_fc1.weight", "linear_fc1.bias" -> {
        long[] shape = stacked.clone();
        shape[0] = granularity;
        yield dense
            .view(inputs, granularity, stacked[1] / inputs, -1)
            .transpose(0, 1)
            .reshape(shape);
      }
      case "linear_fc2.weight" ->
          scaled(dense.view(stacked[1], granularity, stacked[2]), granularity / scaling)
              .transpose(0, 1);
      case "linear_fc2.bias" -> scaled(dense, 1 / scaling);
      default -> throw new IllegalStateException("experts with " + part);
    };
  }

  /** In fp32, so that it is rounded once. */
  private static Tensor scaled(Tensor t, double factor) {
    return t.to(ScalarType.Float).mul(new Scalar(factor));
  }
}
