package moe4j.moe.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import moe4j.kernels.dropout.Draw;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeLayer;
import moe4j.moe.bench.LayerBench.Way;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.experts.GroupedMlp;
import moe4j.moe.experts.GroupedMlp.Products;
import moe4j.moe.experts.SharedExpert;
import moe4j.moe.gate.Gate;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.transformer.FeedForward;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Mlp;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A layer's weights, what goes in, and the ways to compute with them. */
final class Contenders implements AutoCloseable {
  private final BenchShape shape;
  private final Device device;
  private final ScalarType dtype;
  private final ParameterSet parameters;
  private final LayerWeights weights;
  private final GivenRoutes given;
  private final NaiveLoop naive;
  private final Gate gate;
  private final Tensor hidden;
  private final Tensor upstream;
  private final Map<Way, Contender> all = new EnumMap<>(Way.class);

  /**
   * Makes the layer and fills its weights.
   *
   * @param seed of all that is drawn
   */
  Contenders(BenchShape shape, Device device, ScalarType dtype, long seed) {
    this.shape = shape;
    this.device = device;
    this.dtype = dtype;
    this.parameters = ParameterSet.unset(dtype, device);
    this.hidden = Scopes.keep(() -> drawn(seed, 0).set_requires_grad(true));
    this.upstream = Scopes.keep(() -> drawn(seed, 1));
    LayerShape model = shape.model();
    MoeConfig moe = shape.moe();
    ParameterScope scope = parameters.root();
    GroupedMlp.Shape each = moe.expertShape(model, 0);
    GroupedMlp experts = new GroupedMlp(each, scope.child("experts"), moe.groupedProducts());
    this.weights = LayerWeights.of(parameters, "experts.");
    boolean ours =
        moe.groupedProducts() == Products.OURS && weights.areTaken(hidden, shape.routes());
    GroupedMlp others =
        ours ? new GroupedMlp(each, scope.child("others"), Products.LIBTORCH) : null;
    FeedForward shared = shared(scope);
    this.gate = MoeLayer.gate(model, moe, 0, scope.child("router"));
    Mlp dense = new Mlp(shape.dense(), 0, scope.child("dense"));
    LayerWeights.fill(parameters, seed, model.initMethodStd());
    this.given =
        new GivenRoutes(shape.tokens(), moe.numExperts(), moe.moeRouterTopk(), seed, device);
    this.naive = new NaiveLoop(weights, model.activation(), model.innerDropout());
    layers(experts, others, shared);
    add(
        Way.ROUTER,
        parameters("router."),
        (x, pass) -> gate.route(x.flatten(0, -2), pass).weight());
    add(Way.NAIVE, naive.leaves(), this::naive);
    if (SortedGroups.takes(shape, dtype)) {
      add(Way.SORTED, parameters("experts.", "shared_experts."), this::sorted);
    }
    add(Way.DENSE, parameters("dense."), dense::forward);
  }

  /**
   * Adds the layer as a model has it.
   *
   * @param others experts whose products are libtorch's, or null where the layer's own are
   */
  private void layers(GroupedMlp experts, GroupedMlp others, FeedForward shared) {
    TokenDispatcher here = TokenDispatcher.local();
    MoeLayer layer = new MoeLayer(0, gate, here, experts, shared);
    MoeLayer routed = new MoeLayer(0, given, here, experts, shared);
    add(Way.LAYER, parameters("experts.", "shared_experts.", "router."), layer::forward);
    add(Way.GIVEN, parameters("experts.", "shared_experts."), routed::forward);
    if (others != null) {
      MoeLayer plain = new MoeLayer(0, given, here, others, shared);
      add(Way.LIBTORCH, parameters("others.", "shared_experts."), plain::forward);
    }
  }

  private FeedForward shared(ParameterScope scope) {
    return shape.sharedHiddenSize() == 0
        ? null
        : new SharedExpert(
            shape.model(),
            0,
            shape.sharedHiddenSize(),
            shape.moe().moeSharedExpertGate(),
            scope.child("shared_experts"));
  }

  /** Normal numbers, [1, T, h]. */
  private Tensor drawn(long seed, int operation) {
    Tensor like =
        Tensors.empty(ScalarType.Float, device, 1, shape.tokens(), shape.model().hiddenSize());
    return Draw.normal(new StepRandom(seed, 0, 0, 1), like, 0, operation).to(dtype);
  }

  private List<Tensor> parameters(String... prefixes) {
    List<Tensor> found = new ArrayList<>();
    for (String prefix : prefixes) {
      parameters.all().stream()
          .filter(parameter -> parameter.name().startsWith(prefix))
          .forEach(parameter -> found.add(parameter.tensor()));
    }
    return found;
  }

  private interface Forward {
    Tensor apply(Tensor hidden, Pass pass);
  }

  private void add(Way way, List<Tensor> ownLeaves, Forward forward) {
    List<Tensor> leaves = new ArrayList<>(ownLeaves);
    leaves.add(hidden);
    if (way != Way.LAYER && way != Way.ROUTER && way != Way.DENSE) {
      leaves.add(given.weights());
    }
    if (way == Way.NAIVE) {
      leaves.addAll(parameters("shared_experts."));
    }
    // libtorch's own dropout draws from a generator that a graph cannot replay.
    boolean draws = way == Way.SORTED && shape.model().innerDropout() > 0;
    boolean captured = way != Way.NAIVE && !draws;
    all.put(way, new Contender(way.label(), pass -> forward.apply(hidden, pass), leaves, captured));
  }

  private Tensor naive(Tensor x, Pass pass) {
    Tensor tokens = x.flatten(0, -2);
    return withShared(
        naive.forward(tokens, given.choices(), given.weights(), pass.isTraining()), tokens);
  }

  private Tensor sorted(Tensor x, Pass pass) {
    Tensor tokens = x.flatten(0, -2);
    SortedGroups groups =
        new SortedGroups(weights, shape.model().activation(), shape.model().innerDropout());
    return withShared(
        groups.forward(tokens, given.choices(), given.weights(), pass.isTraining()), tokens);
  }

  private Tensor withShared(Tensor output, Tensor tokens) {
    LayerWeights own = sharedWeights();
    return own.fc1() == null
        ? output
        : output.add(
            SharedMlp.apply(new PlainMlp(own, shape.model().activation()), sharedGate(), tokens));
  }

  /** The shared expert's weights, or none. */
  LayerWeights sharedWeights() {
    return LayerWeights.of(parameters, "shared_experts.");
  }

  /** The weight of the shared expert's gate, or null. */
  Tensor sharedGate() {
    return LayerWeights.named(parameters, "shared_experts.gate_weight");
  }

  /** The ways that there are, in order: libtorch's products do not take every size. */
  Map<Way, Contender> all() {
    return Collections.unmodifiableMap(all);
  }

  /** The experts' weights. */
  LayerWeights weights() {
    return weights;
  }

  /** What tokens have chosen where that is given. */
  GivenRoutes given() {
    return given;
  }

  /** Rows that the experts compute of what the layer's gate chooses. */
  long rows(Pass pass) {
    Tensor ends = gate.route(hidden.flatten(0, -2), pass).offsets();
    return Tensors.longs(ends.select(0, -1))[0];
  }

  /** What goes in: [1, T, h], which gets a gradient. */
  Tensor hidden() {
    return hidden;
  }

  /** The gradient of what comes out: [1, T, h]. */
  Tensor upstream() {
    return upstream;
  }

  @Override
  public void close() {
    naive.close();
    given.close();
    hidden.close();
    upstream.close();
    parameters.close();
  }
}
