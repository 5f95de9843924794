package moe4j.transformer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import moe4j.kernels.product.WideWeights;
import moe4j.parallel.Groups;
import moe4j.parallel.Shard;
import moe4j.tensor.Philox;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A model's parameters, in the order in which its layers made them. Initial weights are a function
 * of the seed, the parameter's global name and the element's place in it, so every layout starts
 * from the same model.
 */
public final class ParameterSet implements AutoCloseable {
  private final long seed;
  private final ScalarType dtype;
  private final Device device;
  private final Groups groups;
  private final boolean drawn;
  private final List<Parameter> parameters = new ArrayList<>();
  private final List<Parameter.Buffer> buffers = new ArrayList<>();
  private final List<Parameter.Buffer> scratch = new ArrayList<>();
  private final List<StepEnd> stepEnds = new ArrayList<>();
  private final Set<String> names = new LinkedHashSet<>();

  /** Is told of each parameter before memory is taken for it, and may refuse it. */
  @FunctionalInterface
  public interface Expectation {
    /**
     * Checks a parameter or buffer.
     *
     * @param name its global name
     * @param globalShape the whole's
     * @throws IllegalArgumentException where it is not what is expected: one sentence
     */
    void check(String name, List<Long> globalShape);
  }

  private Expectation expectation = (name, shape) -> {};

  /** What a part of the model does at a step's end. */
  private record StepEnd(String prefix, Consumer<Tensor> body) {}

  /**
   * What a parameter is to be.
   *
   * @param pieces the global names along the first dimension, or empty where there is one
   * @param globalShape the whole's, or one whole piece's
   * @param partial {@link Parameter#partial}
   */
  @SuppressWarnings("ArrayRecordComponent") // a shape: nobody compares two
  record Slot(String name, List<String> pieces, Shard shard, long[] globalShape, boolean partial) {

    /** The shape of this rank's tensor. */
    long[] shape() {
      long[] each;
      try {
        each = shard.localShape(globalShape);
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException("%s: %s".formatted(name, e.getMessage()), e);
      }
      if (pieces.isEmpty()) {
        return each;
      }
      long[] stacked = new long[each.length + 1];
      stacked[0] = pieces.size();
      System.arraycopy(each, 0, stacked, 1, each.length);
      return stacked;
    }
  }

  /** An empty set on one rank; parameters will be of this type and on this device. */
  public ParameterSet(long seed, ScalarType dtype, Device device) {
    this(seed, dtype, device, Groups.single());
  }

  /** An empty set that takes this rank's parts of the parameters. */
  public ParameterSet(long seed, ScalarType dtype, Device device, Groups groups) {
    this(seed, dtype, device, groups, true);
  }

  private ParameterSet(long seed, ScalarType dtype, Device device, Groups groups, boolean drawn) {
    this.seed = seed;
    this.dtype = dtype;
    this.device = device;
    this.groups = groups;
    this.drawn = drawn;
  }

  /** An empty set on one rank, whose parameters hold no values until somebody fills them. */
  public static ParameterSet unset(ScalarType dtype, Device device) {
    return new ParameterSet(0, dtype, device, Groups.single(), false);
  }

  /**
   * Has every parameter that is made from now on checked first. A model's sizes may come from a
   * file, and no memory should be taken before something else confirms them.
   */
  public void expect(Expectation all) {
    expectation = all;
  }

  /** The scope of the whole model, with no prefix. */
  public ParameterScope root() {
    return new ParameterScope(this, "");
  }

  /** All parameters, in order. */
  public List<Parameter> all() {
    return Collections.unmodifiableList(parameters);
  }

  /** The tensors that are saved with the parameters and not trained. */
  public List<Parameter.Buffer> buffers() {
    return Collections.unmodifiableList(buffers);
  }

  /**
   * Ends a step, after the optimizer's update.
   *
   * @param foundInf fp32, a scalar: 1 where the step was skipped
   */
  public void endStep(Tensor foundInf) {
    stepEnds.forEach(end -> end.body().accept(foundInf));
  }

  /**
   * Takes a part of the model out: its parameters, its buffers and what it does at a step's end.
   * Its tensors are closed, so that no layer may use them any more.
   *
   * @param prefix of the names, such as {@code decoder.layers.3.mlp.}
   */
  public void remove(String prefix) {
    parameters.removeIf(p -> gone(p.name(), prefix, p.tensor()));
    buffers.removeIf(b -> gone(b.name(), prefix, b.tensor()));
    scratch.removeIf(s -> gone(s.name(), prefix, s.tensor()));
    stepEnds.removeIf(end -> end.prefix().startsWith(prefix));
  }

  private boolean gone(String name, String prefix, Tensor tensor) {
    boolean gone = name.startsWith(prefix);
    if (gone) {
      names.remove(name);
      WideWeights.release(tensor);
      tensor.close();
    }
    return gone;
  }

  /** The run's seed, by which initial weights are drawn. */
  public long seed() {
    return seed;
  }

  /** The type the model computes in. */
  public ScalarType dtype() {
    return dtype;
  }

  /** Where the parameters are. */
  public Device device() {
    return device;
  }

  /** The ranks among which the model is divided. */
  public Groups groups() {
    return groups;
  }

  /** Trained elements on this rank. */
  public long elements() {
    return parameters.stream().mapToLong(p -> p.tensor().numel()).sum();
  }

  /** N(0, std). */
  Tensor normal(Slot slot, double std) {
    return add(slot, true, host -> draw(slot, host, std));
  }

  /** N(mean, std), and no weight decay: norms and biases that are drawn. */
  Tensor normal(Slot slot, double mean, double std) {
    return add(
        slot,
        false,
        host -> {
          draw(slot, host, std);
          host.add_(new Scalar(mean));
        });
  }

  /** Fills this rank's part with what the whole has there: each run of its row-major memory. */
  private void draw(Slot slot, Tensor host, double std) {
    List<String> names = slot.pieces().isEmpty() ? List.of(slot.name()) : slot.pieces();
    int dim = slot.shard().dim();
    long[] global = slot.globalShape();
    long inner = product(global, dim + 1, global.length);
    long outer = slot.shard().isWhole() ? 1 : product(global, 0, dim);
    Tensor flat = host.view(-1);
    long at = 0;
    for (String name : names) {
      List<Shard.Part> parts = slot.shard().parts(global);
      for (Shard.Part part : parts) {
        long run =
            slot.shard().isWhole() ? product(global, 0, global.length) : part.shape()[dim] * inner;
        for (long o = 0; o < outer; o++) {
          long first = slot.shard().isWhole() ? 0 : (o * global[dim] + part.offset()[dim]) * inner;
          try (PointerScope scope = new PointerScope()) {
            Philox.normal(flat.narrow(0, at, run), std, seed, Philox.stream(name), first);
          }
          at += run;
        }
      }
    }
  }

  private static long product(long[] shape, int from, int to) {
    long product = 1;
    for (int i = from; i < to; i++) {
      product *= shape[i];
    }
    return product;
  }

  /** One value everywhere, and no weight decay: norms and biases. */
  Tensor constant(Slot slot, double value) {
    return add(slot, false, host -> host.fill_(new Scalar(value)));
  }

  private Tensor add(Slot slot, boolean decay, Consumer<Tensor> initialise) {
    claim(slot.name());
    List<Long> globalShape = Arrays.stream(slot.globalShape()).boxed().toList();
    List<String> stored = slot.pieces().isEmpty() ? List.of(slot.name()) : slot.pieces();
    stored.forEach(name -> expectation.check(name, globalShape));
    Tensor tensor =
        Scopes.keep(
            () -> {
              if (device.is_meta() || !drawn) {
                // Shapes alone, or memory for values that come later.
                return Tensors.empty(dtype, device, slot.shape()).set_requires_grad(true);
              }
              Tensor host = torch.empty(slot.shape());
              initialise.accept(host);
              return host.to(device, dtype).set_requires_grad(true);
            });
    parameters.add(
        new Parameter(
            slot.name(),
            tensor,
            decay,
            slot.pieces(),
            slot.shard(),
            globalShape,
            slot.partial() && !groups.tensor().isAlone()));
    WideWeights.hold(tensor);
    return tensor;
  }

  private void claim(String name) {
    if (!names.add(name)) {
      throw new IllegalStateException("two parameters are named " + name);
    }
  }

  Tensor buffer(String name, long... shape) {
    return buffer(name, false, ScalarType.Float, shape);
  }

  Tensor buffer(String name, boolean batched, ScalarType type, long... shape) {
    claim(name);
    List<Long> global = new ArrayList<>(Arrays.stream(shape).boxed().toList());
    if (batched) {
      global.set(0, shape[0] * groups.data().size());
    }
    expectation.check(name, global);
    Tensor tensor = lasting(type, shape);
    buffers.add(new Parameter.Buffer(name, tensor, batched));
    return tensor;
  }

  Tensor scratch(String prefix, ScalarType type, long... shape) {
    Tensor tensor = lasting(type, shape);
    scratch.add(new Parameter.Buffer(prefix, tensor, false));
    return tensor;
  }

  private Tensor lasting(ScalarType type, long... shape) {
    return Scopes.keep(() -> Tensors.zeros(type, device, shape));
  }

  void atStepEnd(String prefix, Consumer<Tensor> body) {
    stepEnds.add(new StepEnd(prefix, body));
  }

  @Override
  public void close() {
    parameters.forEach(p -> WideWeights.release(p.tensor()));
    parameters.forEach(p -> p.tensor().close());
    parameters.clear();
    buffers.forEach(b -> b.tensor().close());
    buffers.clear();
    scratch.forEach(s -> s.tensor().close());
    scratch.clear();
    stepEnds.clear();
  }
}
