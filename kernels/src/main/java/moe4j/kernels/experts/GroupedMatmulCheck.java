package moe4j.kernels.experts;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * libtorch's grouped products with groups that are empty, whose weights' gradients are zeros: not
 * every version writes them on every GPU, and what a tensor held before would be taken for them.
 */
public final class GroupedMatmulCheck implements KernelCheck {
  @Override
  public String name() {
    return "grouped matmul";
  }

  @Override
  public void run(Comparison on) {
    for (Type type : Type.values()) {
      run(on, type, 64, 40, 5, 0, 130, 1, 0);
      run(on, type, 16, 24, 0, 3, 0, 0, 0);
      run(on, type, 256, 512, 300, 17, 0, 200);
    }
  }

  private static void run(Comparison on, Type type, int in, int out, int... sizes) {
    ScalarType dtype = type.dtype();
    int[] ends = new int[sizes.length];
    int rows = 0;
    for (int g = 0; g < sizes.length; g++) {
      rows += sizes[g];
      ends[g] = rows;
    }
    int last = rows;
    Tensor x = on.normal(dtype, rows, in);
    Tensor weight = on.normal(dtype, sizes.length, out, in);
    Tensor upstream = on.normal(dtype, rows, out);
    Tensor offsets = Tensor.create(ends).to(on.device(), ScalarType.Int);
    // The allocator hands out this memory next.
    Scopes.run(() -> Tensors.full(Double.NaN, dtype, on.device(), sizes.length, out, in));
    Scopes.run(() -> Tensors.full(Double.NaN, dtype, on.device(), last, out));

    Leaves actual = Leaves.on(on, dtype, x, weight);
    Leaves expected = Leaves.reference(x, weight);
    Tensor y = actual.backward(upstream, t -> GroupedMatmul.linear(t[0], t[1], offsets));
    Tensor exact = expected.backward(upstream, t -> eachByItself(t[0], t[1], ends));
    String what = "grouped matmul %s %s".formatted(type, java.util.Arrays.toString(sizes));
    on.close(what + ": rows", y, exact, type.bound());
    actual.compare(on, expected, what, type.bound(), "x", "weight");
  }

  private static Tensor eachByItself(Tensor x, Tensor weight, int[] ends) {
    Tensor y = Tensors.zeros(ScalarType.Double, x.device(), x.size(0), weight.size(1));
    int start = 0;
    for (int g = 0; g < ends.length; g++) {
      Tensor group = Tensors.slice(x, 0, start, ends[g]).mm(weight.select(0, g).t());
      Tensors.slice(y, 0, start, ends[g]).copy_(group);
      start = ends[g];
    }
    return y;
  }
}
