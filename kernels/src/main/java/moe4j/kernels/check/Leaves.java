package moe4j.kernels.check;

import java.util.function.Function;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The inputs of a function on one side of a comparison and, after {@link #backward}, their
 * gradients. An input may be null.
 */
public final class Leaves {
  private final Tensor[] tensors;

  private Leaves(Tensor... tensors) {
    this.tensors = tensors;
  }

  /** An input's gradient, undefined where there was none. */
  public Tensor gradient(int input) {
    return tensors[input].grad();
  }

  /** Leaves of these values on the device under test. */
  public static Leaves on(Comparison on, ScalarType dtype, Tensor... values) {
    Tensor[] leaves = new Tensor[values.length];
    for (int i = 0; i < values.length; i++) {
      leaves[i] = values[i] == null ? null : on.leaf(values[i], dtype);
    }
    return new Leaves(leaves);
  }

  /** Leaves of these values in fp64 on the CPU. */
  public static Leaves reference(Tensor... values) {
    Tensor[] leaves = new Tensor[values.length];
    for (int i = 0; i < values.length; i++) {
      leaves[i] = values[i] == null ? null : values[i].detach().clone().set_requires_grad(true);
    }
    return new Leaves(leaves);
  }

  /** The function's result, its gradient being {@code upstream}. */
  public Tensor backward(Tensor upstream, Function<Tensor[], Tensor> function) {
    return backward(new Tensor[] {upstream}, t -> new Tensor[] {function.apply(t)})[0];
  }

  /**
   * The function's results, whose gradients are {@code upstream}; a null stands for no gradient, as
   * does the end of what there is. All else that the function makes is closed before the backward.
   */
  public Tensor[] backward(Tensor[] upstream, Function<Tensor[], Tensor[]> function) {
    Tensor[] results = scoped(function);
    TensorVector outputs = new TensorVector();
    TensorVector gradients = new TensorVector();
    for (int i = 0; i < results.length; i++) {
      if (i < upstream.length && upstream[i] != null) {
        outputs.push_back(results[i]);
        gradients.push_back(upstream[i].to(results[i].device(), Tensors.dtype(results[i])));
      }
    }
    torch.backward(outputs, gradients, new BoolOptional(), false, new TensorVector());
    return results;
  }

  private Tensor[] scoped(Function<Tensor[], Tensor[]> function) {
    PointerScope outer = PointerScope.getInnerScope();
    try (PointerScope scope = new PointerScope()) {
      Tensor[] results = function.apply(tensors);
      for (Tensor result : results) {
        if (result != null) {
          outer.attach(result);
        }
      }
      return results;
    }
  }

  /** A backward from one result, whose gradient is {@code upstream}. */
  public static void backward(Tensor result, Tensor upstream) {
    Tensor gradient = upstream.to(result.device(), Tensors.dtype(result));
    torch.backward(
        new TensorVector(result),
        new TensorVector(gradient),
        new BoolOptional(),
        false,
        new TensorVector());
  }

  /** Compares all gradients. */
  public void compare(Comparison on, Leaves expected, String what, double bound, String... names) {
    for (int i = 0; i < tensors.length; i++) {
      if (tensors[i] != null) {
        on.close(
            what + ": gradient of " + names[i],
            tensors[i].grad(),
            expected.tensors[i].grad(),
            bound);
      }
    }
  }
}
