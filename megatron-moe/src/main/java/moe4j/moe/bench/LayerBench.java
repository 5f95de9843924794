package moe4j.moe.bench;

import java.util.List;
import java.util.Set;
import moe4j.kernels.bench.Ceilings;
import moe4j.kernels.bench.WorkTimer;
import moe4j.kernels.cuda.Cuda;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.transformer.Operation;
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
    /** The same with libtorch's products, where moe4j's compute {@link #GIVEN}. */
    LIBTORCH("MoE, libtorch products"),
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
  private final Contenders contenders;
  private final Tensor position;

  /** Makes the layer and fills its weights. */
  public LayerBench(BenchShape shape, Setting setting) {
    this.shape = shape;
    this.setting = setting;
    this.contenders = new Contenders(shape, setting.device, setting.dtype, SEED);
    this.position =
        setting.device.is_cuda()
            ? Scopes.keep(() -> Tensors.zeros(ScalarType.Long, setting.device, 2))
            : null;
  }

  /** The ways that there are, in order: libtorch's products do not take every size. */
  public Set<Way> ways() {
    return contenders.all().keySet();
  }

  /** What a way computes in an evaluation; its tensors belong to the scope that is open. */
  Tensor output(Way way) {
    return contenders.all().get(way).forward().apply(Pass.evaluation());
  }

  /** Times one way, its forward without gradients and its forward with its backward. */
  public List<LayerTimes> time(Way way) {
    Contender contender = contenders.all().get(way);
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
      case LAYER ->
          LayerFloor.experts(
              shape, rows(backward), backward, setting.elementBytes(), setting.ceilings);
      case GIVEN, LIBTORCH, NAIVE, SORTED ->
          LayerFloor.experts(shape, backward, setting.elementBytes(), setting.ceilings);
    };
  }

  /**
   * Rows that the layer's experts compute of the gate's choices: without those that it drops, and
   * with those that it fills experts up with.
   *
   * @param backward whether in training, where a gate may choose in another way
   */
  public long rows(boolean backward) {
    long[] rows = new long[1];
    Scopes.run(
        () -> {
          try (NoGradGuard guard = new NoGradGuard()) {
            rows[0] = contenders.rows(backward ? training() : Pass.evaluation());
          }
        });
    return rows[0];
  }

  /** Whose rows are counted, where a gate's are others than k a token: a sentence, or empty. */
  public String counted() {
    long forward = rows(false);
    long both = rows(true);
    return forward == shape.routes() && both == shape.routes()
        ? ""
        : "MoE's experts compute %d rows, in training %d, and the other ways all %d that were chosen: each way's FLOPs are of its own rows"
            .formatted(forward, both, shape.routes());
  }

  private Pass training() {
    return Pass.training(
        position == null ? new StepRandom(SEED, 0, 0, 1) : StepRandom.onDevice(SEED, position, 1));
  }

  private static Tensor forward(Contender contender) {
    try (NoGradGuard guard = new NoGradGuard()) {
      return contender.forward().apply(Pass.evaluation());
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
    Tensor upstream = contenders.upstream();
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
    // What libraries keep for themselves is taken now, and not counted below.
    Scopes.run(() -> both(contender));
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
    Contender layer = contenders.all().get(Way.GIVEN);
    Scopes.run(
        () -> {
          try {
            Tensor output = backward(layer).flatten(0, -2);
            Tensor hidden = contenders.hidden();
            LayerReference reference =
                new LayerReference(
                    hidden.flatten(0, -2),
                    contenders.upstream().flatten(0, -2),
                    shape.model().activation());
            // As GroupedMlp draws it for the first layer's rows on one rank.
            reference.experts(
                contenders.given(),
                contenders.weights(),
                training()
                    .chance()
                    .piece(0)
                    .dropout(shape.model().innerDropout(), 1, Operation.FEED_FORWARD_HIDDEN));
            if (shape.sharedHiddenSize() > 0) {
              reference.shared(contenders.sharedWeights(), contenders.sharedGate());
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
    contenders.close();
    if (position != null) {
      position.close();
    }
    emptyCache();
  }
}
