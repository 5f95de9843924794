package moe4j.kernels.experts;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Type;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The activations between experts' projections, weighted by row. */
public final class WeightedActivationCheck implements KernelCheck {
  @Override
  public String name() {
    return "weighted activation";
  }

  @Override
  public void run(Comparison on) {
    for (boolean gated : new boolean[] {false, true}) {
      for (Type type : Type.values()) {
        run(on, gated, type, ScalarType.Float, 50, 33);
        run(on, gated, type, ScalarType.Float, 100, 512);
        run(on, gated, type, ScalarType.Float, 31, 1003);
        run(on, gated, type, type.dtype(), 65, 264);
      }
    }
  }

  private static void run(
      Comparison on, boolean gated, Type type, ScalarType weightType, int rows, int f) {
    ScalarType dtype = type.dtype();
    Tensor x =
        on.normal(dtype, rows, gated ? 2L * f : f)
            .mul(new Scalar(2))
            .to(dtype)
            .to(ScalarType.Double);
    Tensor weight = on.normal(weightType, rows);
    Tensor upstream = on.normal(dtype, rows, f);

    Tensor a = on.leaf(x, dtype);
    Tensor w = on.leaf(weight, weightType);
    Tensor y = gated ? WeightedActivation.swiglu(a, w) : WeightedActivation.gelu(a, w);
    y.mul(upstream.to(on.device(), dtype)).sum().backward();

    Tensor exactA = x.detach().set_requires_grad(true);
    Tensor exactW = weight.detach().set_requires_grad(true);
    Tensor exactY = activated(exactA, gated).mul(exactW.unsqueeze(1));
    exactY.mul(upstream).sum().backward();

    String what =
        "%s %s, weights %s, %dx%d: "
            .formatted(gated ? "swiglu" : "gelu", type, weightType, rows, f);
    on.close(what + "rows", y, exactY, type.bound());
    on.close(what + "gradient", a.grad(), exactA.grad(), type.bound());
    on.close(what + "weights' gradient", w.grad(), exactW.grad(), type.bound());
  }

  private static Tensor activated(Tensor x, boolean gated) {
    if (!gated) {
      return torch.gelu(x);
    }
    TensorVector halves = x.chunk(2, -1);
    return torch.silu(halves.get(0)).mul(halves.get(1));
  }
}
