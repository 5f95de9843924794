package moe4j.moe;

import java.util.List;
import java.util.function.Supplier;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.experts.Expert;
import moe4j.moe.experts.Experts;
import moe4j.moe.experts.GroupedMlp;
import moe4j.moe.experts.ModuleExperts;
import moe4j.moe.gate.Gate;
import moe4j.moe.gate.RouterConfig;
import moe4j.moe.gate.RouterConfig.Score;
import moe4j.moe.gate.TopKRouter;
import moe4j.parallel.ExpertRange;
import moe4j.parallel.Groups;
import moe4j.transformer.Activation;
import moe4j.transformer.FeedForward;
import moe4j.transformer.ParameterScope;

/**
 * Puts together an MoE layer for a user's own model. Whatever is not set has its usual value. A
 * builder comes from {@link MoeLayer#builder}; {@link #build} may be called for several layers.
 */
public final class MoeLayerBuilder {
  private final int hiddenSize;
  private final int numExperts;
  private Integer topk;
  private Long expertHiddenSize;
  private Activation activation;
  private boolean expertBias;
  private double expertDropout;
  private Gate.Factory gate;
  private Experts.Factory experts;
  private FeedForward shared;
  private double initMethodStd = 0.02;
  private double lossWeight = 0.01;
  private TokenDispatcher.Kind dispatcher = TokenDispatcher.Kind.ALL_TO_ALL;
  private int overlap = 1;
  private int layer;

  MoeLayerBuilder(int hiddenSize, int numExperts) {
    refuse(hiddenSize < 1, () -> "a hidden size of %d is not positive".formatted(hiddenSize));
    refuse(numExperts < 1, () -> "%d experts are too few for a layer".formatted(numExperts));
    this.hiddenSize = hiddenSize;
    this.numExperts = numExperts;
  }

  /** How many experts a token goes to, k; by default 2, or the only one. */
  public MoeLayerBuilder topk(int topk) {
    refuse(
        topk < 1 || topk > numExperts,
        () ->
            "%d experts a token are not between 1 and the layer's %d".formatted(topk, numExperts));
    this.topk = topk;
    return this;
  }

  /** The hidden size of each expert, f; by default 4 h / k, so that k of them are a usual MLP. */
  public MoeLayerBuilder expertHiddenSize(long size) {
    refuse(size < 1, () -> "an expert's hidden size of %d is not positive".formatted(size));
    this.expertHiddenSize = size;
    return this;
  }

  /** The activation between an expert's two layers; by default GELU. */
  public MoeLayerBuilder activation(Activation activation) {
    this.activation = activation;
    return this;
  }

  /** Gives the experts' layers biases. */
  public MoeLayerBuilder expertBias() {
    this.expertBias = true;
    return this;
  }

  /** The dropout between an expert's layers, in training; by default 0. */
  public MoeLayerBuilder expertDropout(double p) {
    refuse(!(p >= 0 && p < 1), () -> "experts' dropout of %s is not in [0, 1)".formatted(p));
    this.expertDropout = p;
    return this;
  }

  /**
   * A gate other than Megatron's router. That one has the usual balance loss and weights the chosen
   * experts by a softmax over their logits; where k is 1, by one over all.
   */
  public MoeLayerBuilder gate(Gate.Factory gate) {
    this.gate = gate;
    return this;
  }

  /**
   * Experts other than MLPs in grouped products. They may be another layer's: {@code scope ->
   * shared}.
   */
  public MoeLayerBuilder experts(Experts.Factory experts) {
    this.experts = experts;
    return this;
  }

  /** Experts that are modules, made alike or by their numbers. */
  public MoeLayerBuilder experts(Expert.Factory expert) {
    return experts(
        parameters -> {
          Groups groups = parameters.groups();
          refuse(
              !groups.expertTensor().isAlone(),
              () ->
                  "experts of your own cannot be cut: they need --expert-tensor-parallel-size 1, not %d"
                      .formatted(groups.expertTensor().size()));
          return ModuleExperts.of(ExpertRange.of(numExperts, groups.expert()), expert, parameters);
        });
  }

  /** Experts that are modules, as many as the layer has. */
  public MoeLayerBuilder experts(List<Expert> experts) {
    refuse(
        experts.size() != numExperts,
        () -> "a list of %d experts for a layer of %d".formatted(experts.size(), numExperts));
    ModuleExperts modules = new ModuleExperts(experts);
    return experts(
        parameters -> {
          refuse(
              !parameters.groups().expertBlock().isAlone(),
              () ->
                  "a list of experts is one rank's: where %d ranks share them out, give a factory"
                      .formatted(parameters.groups().expertBlock().size()));
          return modules;
        });
  }

  /**
   * An expert that every token goes to, by default none: [..., h] to [..., h], given what the layer
   * is given.
   */
  public MoeLayerBuilder shared(FeedForward shared) {
    this.shared = shared;
    return this;
  }

  /**
   * How tokens get to experts of other ranks; by default from rank to rank, all at once.
   *
   * @param overlap in how many parts, each computed while the next is under way
   */
  public MoeLayerBuilder dispatcher(TokenDispatcher.Kind kind, int overlap) {
    refuse(
        kind == TokenDispatcher.Kind.ALL_GATHER && overlap != 1,
        () -> "what is gathered comes in one part, not in %d".formatted(overlap));
    this.dispatcher = kind;
    this.overlap = overlap;
    return this;
  }

  /** The standard deviation of the gate's and the experts' initial weights; by default 0.02. */
  public MoeLayerBuilder initMethodStd(double std) {
    refuse(!(std >= 0), () -> "a standard deviation of %s is negative".formatted(std));
    this.initMethodStd = std;
    return this;
  }

  /** The weight of the gate's balance loss in what is minimised; by default 0.01. */
  public MoeLayerBuilder lossWeight(double weight) {
    refuse(!(weight >= 0), () -> "a loss weight of %s is negative".formatted(weight));
    this.lossWeight = weight;
    return this;
  }

  /**
   * The layer's number, by default 0: its load, losses and figures are logged by it, and its random
   * numbers keyed. Each layer of a model has its own.
   */
  public MoeLayerBuilder layer(int layer) {
    refuse(layer < 0, () -> "a layer's number of %d is negative".formatted(layer));
    this.layer = layer;
    return this;
  }

  /**
   * Makes the layer, or this rank's part of it where the scope's groups divide it.
   *
   * @param parameters its scope: gate and experts get {@code router} and {@code experts} below it
   * @throws IllegalArgumentException in one sentence where settings contradict each other
   */
  public MoeLayer build(ParameterScope parameters) {
    refuse(
        experts != null && (expertHiddenSize != null || activation != null || expertBias),
        () -> "expertHiddenSize, activation and expertBias have no effect on experts of your own");
    refuse(
        experts != null && expertDropout > 0,
        () -> "expertDropout has no effect on experts of your own");
    int k = topk == null ? Math.min(2, numExperts) : topk;
    Gate.Shape shape = new Gate.Shape(layer, hiddenSize, numExperts, k, initMethodStd, lossWeight);
    Experts.Factory made = experts != null ? experts : mlps(k);
    Gate.Factory routed = gate != null ? gate : MoeLayerBuilder::router;
    return new MoeLayer(
        layer,
        routed.create(shape, parameters.child("router").partial()),
        TokenDispatcher.of(dispatcher, overlap, numExperts, parameters.groups()),
        made.create(parameters.child("experts")),
        shared,
        parameters.groups());
  }

  private static Gate router(Gate.Shape shape, ParameterScope parameters) {
    RouterConfig config =
        RouterConfig.withAuxLoss(shape.lossWeight())
            .withScore(shape.topk() == 1 ? Score.SOFTMAX : Score.LOGITS);
    return new TopKRouter(shape, config, null, parameters);
  }

  private Experts.Factory mlps(int k) {
    refuse(
        expertHiddenSize == null && 4L * hiddenSize % k != 0,
        () ->
            "4 times the hidden size %d is no multiple of the %d experts a token goes to: give expertHiddenSize"
                .formatted(hiddenSize, k));
    GroupedMlp.Shape shape =
        new GroupedMlp.Shape(
                numExperts,
                hiddenSize,
                expertHiddenSize != null ? expertHiddenSize : 4L * hiddenSize / k,
                activation != null ? activation : Activation.GELU,
                expertBias,
                initMethodStd,
                initMethodStd)
            .withDropout(expertDropout, layer);
    return parameters -> new GroupedMlp(shape, parameters);
  }

  private static void refuse(boolean wrong, Supplier<String> sentence) {
    if (wrong) {
      throw new IllegalArgumentException(sentence.get());
    }
  }
}
