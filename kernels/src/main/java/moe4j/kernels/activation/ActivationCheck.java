package moe4j.kernels.activation;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** GELU and SwiGLU, after a bias and without one. */
public final class ActivationCheck implements KernelCheck {
  @Override
  public String name() {
    return "activation";
  }

  private interface Activation {
    Tensor apply(Tensor x, Tensor bias);
  }

  @Override
  public void run(Comparison on) {
    for (Type type : Type.values()) {
      for (long[] shape : new long[][] {{45, 3072}, {301, 264}, {19, 100}, {5, 7}, {1, 19}}) {
        for (boolean bias : new boolean[] {true, false}) {
          Scopes.run(() -> check(on, type, "gelu", BiasGelu::apply, 1, shape, bias));
          Scopes.run(() -> check(on, type, "swiglu", BiasSwiGlu::apply, 2, shape, bias));
        }
      }
    }
  }

  private static void check(
      Comparison on,
      Type type,
      String name,
      Activation activation,
      int inputs,
      long[] shape,
      boolean biased) {
    long f = shape[1];
    // Twice as wide as usual: far into both tails.
    Tensor x = on.normal(type.dtype(), shape[0], inputs * f).mul(new Scalar(2));
    Tensor bias = biased ? on.normal(type.dtype(), inputs * f) : null;
    Tensor upstream = on.normal(type.dtype(), shape);
    Leaves actual = Leaves.on(on, type.dtype(), x, bias);
    Leaves expected = Leaves.reference(x, bias);
    String what = "%s %s %d x %d%s".formatted(name, type, shape[0], f, biased ? " bias" : "");
    on.close(
        what,
        actual.backward(upstream, t -> activation.apply(t[0], t[1])),
        expected.backward(upstream, t -> activation.apply(t[0], t[1])),
        type.bound());
    actual.compare(on, expected, what, type.bound(), "x", "bias");
  }
}
