package moe4j.kernels.product;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.Tensor;

/** Sums over rows, and the linear layer whose bias gets one. */
public final class ColumnSumCheck implements KernelCheck {
  @Override
  public String name() {
    return "column sum";
  }

  @Override
  public void run(Comparison on) {
    for (Type type : Type.values()) {
      for (long[] shape : new long[][] {{1000, 768}, {517, 2304}, {77, 100}, {3, 7}, {1, 1}}) {
        Scopes.run(() -> sum(on, type, shape));
      }
      Scopes.run(() -> linear(on, type));
    }
  }

  private static void sum(Comparison on, Type type, long[] shape) {
    Tensor x = on.normal(type.dtype(), shape);
    Tensor y = ColumnSum.of(x.to(on.device(), type.dtype()));
    on.close(
        "column sum %s %d x %d".formatted(type, shape[0], shape[1]), y, x.sum(0), type.bound());
  }

  private static void linear(Comparison on, Type type) {
    Tensor x = on.normal(type.dtype(), 3, 41, 48);
    Tensor weight = on.normal(type.dtype(), 72, 48);
    Tensor bias = on.normal(type.dtype(), 72);
    Tensor upstream = on.normal(type.dtype(), 3, 41, 72);
    Leaves actual = Leaves.on(on, type.dtype(), x, weight, bias);
    Leaves expected = Leaves.reference(x, weight, bias);
    String what = "linear " + type;
    on.close(
        what,
        actual.backward(upstream, t -> Gemm.linear(t[0], t[1], t[2])),
        expected.backward(upstream, t -> Gemm.linear(t[0], t[1], t[2])),
        type.bound());
    actual.compare(on, expected, what, type.bound(), "x", "weight", "bias");
  }
}
