package moe4j.moe.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import moe4j.config.Flags;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeConfigBuilder;
import moe4j.transformer.Activation;
import moe4j.transformer.LayerShape;

/**
 * The layer that is timed.
 *
 * @param name such as {@code A}; empty for one that has none
 * @param tokens T
 * @param model h, the activation, and dropout within
 * @param moe experts, their size and gate
 */
public record BenchShape(String name, int tokens, LayerShape model, MoeConfig moe) {
  /** What the sides of a named shape are divided by where it is to be small. */
  private static final int SMALLER = 16;

  /** Elements of a Java array, in which routes are drawn. */
  private static final long MOST_ROUTES = Integer.MAX_VALUE - 8L;

  private static final double STD = 0.02;

  /** What a layer's line says of its flags in words. */
  private static final Set<String> IN_WORDS =
      Set.of(
          "num_experts",
          "moe_router_topk",
          "moe_ffn_hidden_size",
          "moe_shared_expert_intermediate_size",
          "add_expert_bias",
          "fmoefy");

  /**
   * The shapes that have names: layers of FastMoE's paper (A and C, the number being that of the
   * experts), of Mixtral (D), of a GPT of 124M parameters with 96 experts (G) and with 256 (F), of
   * Transformer-XL (X64, X128) and one between (B). {@code docs/peers/moe_layer.py} has the same.
   */
  private static final List<BenchShape> NAMED =
      List.of(
          of("A", 8192, Activation.GELU, new Sizes(1024, 4096, 96, 2)),
          of("C8", 4096, Activation.GELU, new Sizes(1024, 4096, 8, 2)),
          of("C32", 4096, Activation.GELU, new Sizes(1024, 4096, 32, 2)),
          of("C96", 4096, Activation.GELU, new Sizes(1024, 4096, 96, 2)),
          of("C128", 4096, Activation.GELU, new Sizes(1024, 4096, 128, 2)),
          of("B", 16_384, Activation.RELU, new Sizes(512, 1024, 64, 2)),
          of("D", 16_384, Activation.GELU, new Sizes(4096, 14_336, 8, 2)),
          of("G", 32_768, Activation.GELU, new Sizes(768, 1536, 96, 2)),
          of("X64", 11_264, Activation.RELU, new Sizes(512, 1024, 64, 2)).asTransformerXl(0.1),
          of("X128", 11_264, Activation.RELU, new Sizes(512, 512, 128, 2)).withShared(1024),
          of("F", 32_768, Activation.GELU, new Sizes(768, 384, 256, 7)).withShared(384));

  private record Sizes(int hidden, int expert, int experts, int topk) {}

  private static BenchShape of(String name, int tokens, Activation activation, Sizes sizes) {
    LayerShape model =
        LayerShape.of(1, sizes.hidden, sizes.expert, activation, STD).withBias(false);
    MoeConfigBuilder moe =
        MoeConfig.builder()
            .numExperts(sizes.experts)
            .moeRouterTopk(sizes.topk)
            .moeFfnHiddenSize(sizes.expert)
            .moeAuxLossCoeff(0.01);
    return new BenchShape(name, tokens, model, moe.build());
  }

  /** Biases in all layers, and dropout within experts. */
  private BenchShape asTransformerXl(double dropout) {
    LayerShape dropping =
        new LayerShape(
            1,
            model.hiddenSize(),
            model.ffnHiddenSize(),
            model.activation(),
            true,
            model.initMethodStd(),
            model.outputStd(),
            dropout);
    return new BenchShape(name, tokens, dropping, moe.toBuilder().addExpertBias(true).build());
  }

  private BenchShape withShared(int channels) {
    return with(name, moe.toBuilder().moeSharedExpertIntermediateSize(channels).build());
  }

  private BenchShape with(String called, MoeConfig experts) {
    return new BenchShape(called, tokens, model, experts);
  }

  /** The names that {@link #named} knows. */
  public static List<String> names() {
    return NAMED.stream().map(BenchShape::name).toList();
  }

  /**
   * A shape by its name.
   *
   * @throws IllegalArgumentException where no shape has the name; the message is one sentence that
   *     lists the names
   */
  public static BenchShape named(String name) {
    return NAMED.stream()
        .filter(shape -> shape.name.equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "--shape takes %s, not '%s'".formatted(String.join(", ", names()), name)));
  }

  /** A named one in a size that a CPU computes in milliseconds. */
  public BenchShape small() {
    Integer shared = moe.moeSharedExpertIntermediateSize();
    MoeConfigBuilder smaller =
        moe.toBuilder()
            .numExperts(Math.max(8, moe.numExperts() / 8))
            .moeFfnHiddenSize(moe.moeFfnHiddenSize() / SMALLER)
            .moeSharedExpertIntermediateSize(shared == null ? null : shared / SMALLER);
    LayerShape shape =
        new LayerShape(
            1,
            model.hiddenSize() / SMALLER,
            model.ffnHiddenSize() / SMALLER,
            model.activation(),
            model.bias(),
            model.initMethodStd(),
            model.outputStd(),
            model.innerDropout());
    return new BenchShape(name, tokens / (4 * SMALLER), shape, smaller.build());
  }

  /**
   * The same layer with another number of experts.
   *
   * @throws IllegalArgumentException where a token goes to more: one sentence
   */
  public BenchShape withExperts(int experts) {
    if (experts < moe.moeRouterTopk()) {
      throw new IllegalArgumentException(
          "--sweep-experts %d: a token goes to %d experts".formatted(experts, moe.moeRouterTopk()));
    }
    return with(name, moe.toBuilder().numExperts(experts).build());
  }

  /** f, of one expert. */
  public int expertHiddenSize() {
    return moe.expertHiddenSize(model);
  }

  /** The hidden size of the expert that every token goes to, or 0. */
  public int sharedHiddenSize() {
    Integer shared = moe.moeSharedExpertIntermediateSize();
    return shared == null ? 0 : shared;
  }

  /**
   * A dense layer of as many FLOPs a token.
   *
   * @throws IllegalArgumentException where no layer can be as wide: one sentence
   */
  public LayerShape dense() {
    long channels = (long) expertHiddenSize() * moe.moeRouterTopk() + sharedHiddenSize();
    if (channels > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "experts of %d channels, %d a token and a shared one of %d: a dense layer of as many FLOPs would have %d channels, and at most %d are possible"
              .formatted(
                  expertHiddenSize(),
                  moe.moeRouterTopk(),
                  sharedHiddenSize(),
                  channels,
                  Integer.MAX_VALUE));
    }
    return model.withFfnHiddenSize((int) channels);
  }

  /** Of all tokens. */
  long routes() {
    return (long) tokens * moe.moeRouterTopk();
  }

  /**
   * Refuses what cannot be timed whatever the machine.
   *
   * @throws IllegalArgumentException one sentence
   */
  public void check() {
    moe.moeLayers(model.layers());
    dense();
    long routes = routes();
    if (routes > MOST_ROUTES) {
      throw new IllegalArgumentException(
          "--tokens %d, each to %d experts, are %d routes, and at most %d are possible"
              .formatted(tokens, moe.moeRouterTopk(), routes, MOST_ROUTES));
    }
  }

  /** Which named layer a sweep's is, and how large that is where it is a small one; or empty. */
  public String swept() {
    if (name.isEmpty()) {
      return "";
    }
    BenchShape whole = named(name);
    return whole.tokens == tokens
        ? " (shape %s)".formatted(name)
        : " (shape %1$s in small; in full: %2$d tokens, experts of %3$d-%4$d-%3$d)"
            .formatted(name, whole.tokens, whole.model.hiddenSize(), whole.expertHiddenSize());
  }

  /** That a named layer is a small one, and how large it is by its name; empty where it is not. */
  private String inSmall() {
    if (name.isEmpty() || named(name).tokens == tokens) {
      return "";
    }
    BenchShape whole = named(name);
    return " (in small; %s itself: %d tokens of %d channels, %d experts of %d)"
        .formatted(
            name,
            whole.tokens,
            whole.model.hiddenSize(),
            whole.moe.numExperts(),
            whole.expertHiddenSize());
  }

  /** All else that was asked for, such as a gate and a capacity; a named layer has no flags. */
  private String asked() {
    List<String> flags = new ArrayList<>();
    Flags.differing(moe)
        .forEach(
            (argument, value) -> {
              if (name.isEmpty() && !IN_WORDS.contains(argument)) {
                Flags.words(argument, value, flags);
              }
            });
    return flags.isEmpty() ? "" : "; with " + String.join(" ", flags);
  }

  /** What the layer is, for a line above its times. */
  @Override
  public String toString() {
    StringBuilder words = new StringBuilder();
    if (!name.isEmpty()) {
      words.append("shape ").append(name).append(": ");
    }
    words.append(
        "%d tokens of %d channels; experts: %d of %d channels, %d a token"
            .formatted(
                tokens,
                model.hiddenSize(),
                moe.numExperts(),
                expertHiddenSize(),
                moe.moeRouterTopk()));
    if (sharedHiddenSize() > 0) {
      words.append(", and a shared one of %d".formatted(sharedHiddenSize()));
    }
    words.append(", ").append(model.activation().name().toLowerCase(Locale.ROOT).replace('_', ' '));
    List<String> more = new ArrayList<>();
    if (moe.addExpertBias()) {
      more.add("biases");
    }
    if (model.innerDropout() > 0) {
      more.add("dropout of " + model.innerDropout());
    }
    more.forEach(word -> words.append(", ").append(word));
    words.append("; dense: %d channels".formatted(dense().ffnHiddenSize()));
    return words.append(asked()).append(inSmall()).toString();
  }
}
