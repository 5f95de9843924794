package moe4j.transformer;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import moe4j.kernels.Philox;
import moe4j.kernels.Scopes;
import moe4j.kernels.Tensors;
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
  private final List<Parameter> parameters = new ArrayList<>();
  private final List<Parameter.Piece> buffers = new ArrayList<>();
  private final List<Parameter.Piece> scratch = new ArrayList<>();
  private final List<StepEnd> stepEnds = new ArrayList<>();
  private final Set<String> names = new LinkedHashSet<>();

  /** What a part of the model does at a step's end. */
  private record StepEnd(String prefix, Consumer<Tensor> body) {}

  /** An empty set; parameters will be of this type and on this device. */
  public ParameterSet(long seed, ScalarType dtype, Device device) {
    this.seed = seed;
    this.dtype = dtype;
    this.device = device;
  }

  /** The scope of the whole model, with no prefix. */
  public ParameterScope root() {
    return new ParameterScope(this, "");
  }

  /** All parameters, in order. */
  public List<Parameter> all() {
    return Collections.unmodifiableList(parameters);
  }

  /** What is saved with the parameters and not trained, fp32. */
  public List<Parameter.Piece> buffers() {
    return Collections.unmodifiableList(buffers);
  }

  /**
   * Ends a step, behind the optimizer's update.
   *
   * @param foundInf fp32, a scalar: 1 where the step was skipped
   */
  public void endStep(Tensor foundInf) {
    stepEnds.forEach(end -> end.body().accept(foundInf));
  }

  /**
   * Takes a part of the model out: its parameters, buffers and what it does at a step's end.
   * Whoever holds its tensors holds nothing any more.
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
      tensor.close();
    }
    return gone;
  }

  /** The type the model computes in. */
  public ScalarType dtype() {
    return dtype;
  }

  /** Where the parameters are. */
  public Device device() {
    return device;
  }

  /** Trained elements in total. */
  public long elements() {
    return parameters.stream().mapToLong(p -> p.tensor().numel()).sum();
  }

  /** N(0, std). */
  Tensor normal(String name, List<String> pieces, double std, long... shape) {
    return add(
        name,
        true,
        pieces,
        shape,
        host -> {
          if (pieces.isEmpty()) {
            Philox.normal(host, std, seed, Philox.stream(name), 0);
          }
          for (int i = 0; i < pieces.size(); i++) {
            Philox.normal(host.select(0, i), std, seed, Philox.stream(pieces.get(i)), 0);
          }
        });
  }

  /** One value everywhere, and no weight decay: norms and biases. */
  Tensor constant(String name, List<String> pieces, double value, long... shape) {
    return add(name, false, pieces, shape, host -> host.fill_(new Scalar(value)));
  }

  private Tensor add(
      String name, boolean decay, List<String> pieces, long[] shape, Consumer<Tensor> initialise) {
    claim(name);
    Tensor tensor =
        Scopes.keep(
            () -> {
              Tensor host = torch.empty(shape);
              initialise.accept(host);
              return host.to(device, dtype).set_requires_grad(true);
            });
    parameters.add(new Parameter(name, tensor, decay, pieces));
    return tensor;
  }

  private void claim(String name) {
    if (!names.add(name)) {
      throw new IllegalStateException("two parameters are named " + name);
    }
  }

  Tensor buffer(String name, long... shape) {
    claim(name);
    Tensor tensor = lasting(shape);
    buffers.add(new Parameter.Piece(name, tensor));
    return tensor;
  }

  Tensor scratch(String prefix, long... shape) {
    Tensor tensor = lasting(shape);
    scratch.add(new Parameter.Piece(prefix, tensor));
    return tensor;
  }

  private Tensor lasting(long... shape) {
    return Scopes.keep(() -> Tensors.zeros(ScalarType.Float, device, shape));
  }

  void atStepEnd(String prefix, Consumer<Tensor> body) {
    stepEnds.add(new StepEnd(prefix, body));
  }

  @Override
  public void close() {
    parameters.forEach(p -> p.tensor().close());
    parameters.clear();
    buffers.forEach(b -> b.tensor().close());
    buffers.clear();
    scratch.forEach(s -> s.tensor().close());
    scratch.clear();
    stepEnds.clear();
  }
}
