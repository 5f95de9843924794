package moe4j.moe.bench;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import moe4j.kernels.bench.Ceilings;
import moe4j.kernels.bench.WorkTimer;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.dropout.Draw;
import moe4j.moe.MoeConfig;
import moe4j.moe.MoeLayer;
import moe4j.moe.dispatch.TokenDispatcher;
import moe4j.moe.experts.GroupedMlp;
import moe4j.moe.experts.SharedExpert;
import moe4j.moe.gate.Gate;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.transformer.Activation;
import moe4j.transformer.FeedForward;
import moe4j.transformer.LayerShape;
import moe4j.transformer.Mlp;
import moe4j.transformer.Operation;
import moe4j.transformer.ParameterScope;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * One layer with experts, and other ways to compute as much: each with the same weights, on the
 * same hidden states, timed as a training step would run it.
 */
public final class LayerBench implements AutoCloseable {
  private static final long SEED = 1234;

  /** Errors of sound kernels are well below these; of wrong ones, far above. */
  private static final double BF16_BOUND = 2e-2;

  private static final double FP32_BOUND = 1e-4;

  /** A way to compute a layer, or a part of one. */
  public enum Way {
    /** The layer with its gate. */
    LAYER("MoE"),
    /** The layer with choices that are given. */
    GIVEN("MoE, routing given"),
    /** The gate by itself, the sorting of routes included. */
    ROUTER("router"),
    /** A parameter for each expert, and a loop over them. */
    NAIVE("naive loop"),
    /** Rows sorted by expert, and libtorch's grouped products. */
    SORTED("sort, _grouped_mm"),
    /** A dense layer of as many FLOPs. */
    DENSE("dense");

    private final String label;

    Way(String label) {
      this.label = label;
    }

    /** What it is called in a table. */
    public String label() {
      return label;
    }

    /** The ways that there are for a layer. */
    public static List<Way> of(BenchShape shape, ScalarType dtype) {
      long multiple = SortedGroups.multiple(dtype);
      boolean aligned =
          shape.model().hiddenSize() % multiple == 0 && shape.expertHiddenSize() % multiple == 0;
      return Stream.of(values()).filter(way -> aligned || way != SORTED).toList();
    }
  }

  /**
   * Where and how layers are timed.
   *
   * @param device where they compute
   * @param dtype of hidden states and weights
   * @param graphs whether a GPU replays a round as a graph
   * @param timer takes the time
   * @param ceilings of the device
   */
  public record Setting(
      Device device, ScalarType dtype, boolean graphs, WorkTimer timer, Ceilings ceilings) {
    private int elementBytes() {
      return dtype == ScalarType.Float ? 4 : 2;
    }

    /** The largest error of a layer that computes what it should. */
    public double bound() {
      return dtype == ScalarType.Float ? FP32_BOUND : BF16_BOUND;
    }
  }

  private final BenchShape shape;
  private final Setting setting;
  private final ParameterSet parameters;
  private final LayerWeights weights;
  private final GivenRoutes given;
  private final NaiveLoop naive;
  private final Tensor hidden;
  private final Tensor upstream;
  private final Tensor position;
  private final Map<Way, Contender> contenders = new EnumMap<>(Way.class);

  /** Makes the layer and fills its weights. */
  public LayerBench(BenchShape shape, Setting setting) {
    this.shape = shape;
    this.setting = setting;
    this.parameters = ParameterSet.unset(setting.dtype, setting.device);
    LayerShape model = shape.model();
    MoeConfig moe = shape.moe();
    ParameterScope scope = parameters.root();
    GroupedMlp experts =
        new GroupedMlp(moe.expertShape(model, 0), scope.child("experts"), moe.groupedProducts());
    FeedForward shared = shared(scope);
    Gate gate = MoeLayer.gate(model, moe, 0, scope.child("router"));
    Mlp dense = new Mlp(shape.dense(), 0, scope.child("dense"));
    LayerWeights.fill(parameters, SEED, model.initMethodStd());
    this.weights = LayerWeights.of(parameters, "experts.");
    this.given =
        new GivenRoutes(
            shape.tokens(), moe.numExperts(), moe.moeRouterTopk(), SEED, setting.device);
    this.naive = new NaiveLoop(weights, model.activation(), model.innerDropout());
    this.hidden = Scopes.keep(() -> drawn(0).set_requires_grad(true));
    this.upstream = Scopes.keep(() -> drawn(1));
    this.position =
        setting.device.is_cuda()
            ? Scopes.keep(() -> Tensors.zeros(ScalarType.Long, setting.device, 2))
            : null;
    TokenDispatcher here = TokenDispatcher.local();
    MoeLayer layer = new MoeLayer(0, gate, here, experts, shared);
    MoeLayer routed = new MoeLayer(0, given, here, experts, shared);
    add(Way.LAYER, parameters("experts.", "shared_experts.", "router."), layer::forward);
    add(Way.GIVEN, parameters("experts.", "shared_experts."), routed::forward);
    add(
        Way.ROUTER,
        parameters("router."),
        (x, pass) -> gate.route(x.flatten(0, -2), pass).weight());
    add(Way.NAIVE, naive.leaves(), this::naive);
    add(Way.SORTED, parameters("experts.", "shared_experts."), this::sorted);
    add(Way.DENSE, parameters("dense."), dense::forward);
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
  private Tensor drawn(int operation) {
    Tensor like =
        Tensors.empty(
            ScalarType.Float, setting.device, 1, shape.tokens(), shape.model().hiddenSize());
    return Draw.normal(new StepRandom(SEED, 0, 0, 1), like, 0, operation).to(setting.dtype);
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
    if (way == Way.GIVEN || way == Way.NAIVE || way == Way.SORTED) {
      leaves.add(given.weights());
    }
    if (way == Way.NAIVE) {
      leaves.addAll(parameters("shared_experts."));
    }
    contenders.put(
        way,
        new Contender(way.label, pass -> forward.apply(hidden, pass), leaves, way != Way.NAIVE));
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

  private LayerWeights sharedWeights() {
    return LayerWeights.of(parameters, "shared_experts.");
  }

  private Tensor sharedGate() {
    return LayerWeights.named(parameters, "shared_experts.gate_weight");
  }

  /** What a way computes in an evaluation; its tensors belong to the scope that is open. */
  Tensor output(Way way) {
    return contenders.get(way).forward().apply(Pass.evaluation());
  }

  /** Times one way, its forward without gradients and its forward with its backward. */
  public List<LayerTimes> time(Way way) {
    Contender contender = contenders.get(way);
    Runnable forward = () -> Scopes.run(() -> forward(contender));
    Runnable both = () -> Scopes.run(() -> both(contender));
    List<LayerTimes> times =
        List.of(
            new LayerTimes(way.label, false, rounds(contender, forward), floor(way, false), -1),
            new LayerTimes(
                way.label, true, rounds(contender, both), floor(way, true), kept(contender)));
    emptyCache();
    return times;
  }

  private WorkTimer.Rounds rounds(Contender contender, Runnable work) {
    return setting.graphs && contender.captured()
        ? setting.timer.captured(work)
        : setting.timer.launched(work);
  }

  private LayerFloor floor(Way way, boolean backward) {
    return switch (way) {
      case ROUTER -> null;
      case DENSE -> LayerFloor.dense(shape, backward, setting.elementBytes(), setting.ceilings);
      case LAYER, GIVEN, NAIVE, SORTED ->
          LayerFloor.experts(shape, backward, setting.elementBytes(), setting.ceilings);
    };
  }

  private Pass training() {
    return Pass.training(
        position == null ? new StepRandom(SEED, 0, 0, 1) : StepRandom.onDevice(SEED, position, 1));
  }

  private static void forward(Contender contender) {
    try (NoGradGuard guard = new NoGradGuard()) {
      contender.forward().apply(Pass.evaluation());
    }
  }

  private void both(Contender contender) {
    try {
      backward(contender);
    } finally {
      CustomFunction.settle();
      contender.reset();
    }
  }

  /** Forward and backward: leaves then hold their gradients. */
  private Tensor backward(Contender contender) {
    Pass pass = training();
    Tensor output = contender.forward().apply(pass);
    TensorVector outputs = new TensorVector(output);
    TensorVector gradients =
        new TensorVector(
            output.numel() == upstream.numel()
                ? upstream.view(output.shape())
                : torch.ones_like(output));
    Tensor losses = pass.total(Tensors.zeros(ScalarType.Float, setting.device));
    if (losses.requires_grad()) {
      outputs.push_back(losses);
      gradients.push_back(torch.ones_like(losses));
    }
    torch.backward(outputs, gradients, new BoolOptional(), false, new TensorVector());
    return output;
  }

  /** Bytes that a forward keeps for its backward beside its output; unknown on a CPU. */
  private long kept(Contender contender) {
    if (!setting.device.is_cuda()) {
      return -1;
    }
    long[] kept = new long[1];
    Scopes.run(
        () -> {
          Cuda.synchronize();
          long before = Cuda.memory().allocated();
          Tensor output = Scopes.compute(() -> contender.forward().apply(training()));
          kept[0] = Cuda.memory().allocated() - before - output.nbytes();
        });
    CustomFunction.settle();
    return kept[0];
  }

  /** Compares the layer whose routing is given with a reference in a longer type. */
  public LayerErrors errors() {
    LayerErrors[] found = new LayerErrors[1];
    Contender layer = contenders.get(Way.GIVEN);
    Scopes.run(
        () -> {
          try {
            Tensor output = backward(layer).flatten(0, -2);
            Activation activation = shape.model().activation();
            LayerReference reference =
                new LayerReference(hidden.flatten(0, -2), upstream.flatten(0, -2), activation);
            // As GroupedMlp draws it for the first layer's rows on one rank.
            reference.experts(
                given,
                weights,
                training()
                    .chance()
                    .piece(0)
                    .dropout(shape.model().innerDropout(), 1, Operation.FEED_FORWARD_HIDDEN));
            if (shape.sharedHiddenSize() > 0) {
              reference.shared(sharedWeights(), sharedGate());
            }
            found[0] = reference.against(output, hidden.grad().flatten(0, -2));
          } finally {
            CustomFunction.settle();
            layer.reset();
          }
        });
    emptyCache();
    return found[0];
  }

  private void emptyCache() {
    if (setting.device.is_cuda()) {
      Cuda.emptyCache();
    }
  }

  @Override
  public void close() {
    naive.close();
    given.close();
    hidden.close();
    upstream.close();
    if (position != null) {
      position.close();
    }
    parameters.close();
    emptyCache();
  }
}
