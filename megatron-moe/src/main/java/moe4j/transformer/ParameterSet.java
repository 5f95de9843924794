package moe4j.transformer;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import moe4j.kernels.Philox;
import moe4j.kernels.Scopes;
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
  private final Set<String> names = new LinkedHashSet<>();

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
      String name,
      boolean decay,
      List<String> pieces,
      long[] shape,
      java.util.function.Consumer<Tensor> initialise) {
    if (!names.add(name)) {
      throw new IllegalStateException("two parameters are named " + name);
    }
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

  @Override
  public void close() {
    parameters.forEach(p -> p.tensor().close());
    parameters.clear();
  }
}
