package moe4j.kernels.product;

import java.util.Arrays;
import java.util.Random;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.RowGroups;
import moe4j.kernels.check.Type;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Groups' rows for their members, some groups empty, and rows after the last group that belong to
 * no group.
 */
public final class GroupRowsCheck implements KernelCheck {
  @Override
  public String name() {
    return "group rows";
  }

  @Override
  public void run(Comparison on) {
    for (Type type : Type.values()) {
      run(on, type, 1, 1, 1, 0);
      run(on, type, 5, 40, 33, 0);
      run(on, type, 8, 1001, 264, 17);
      run(on, type, 512, 700, 9, 3);
      run(on, type, 3, 0, 7, 4);
    }
  }

  /**
   * @param behind rows after the last group's end; their gradient is NaN
   */
  private static void run(Comparison on, Type type, int groups, int members, int n, int behind) {
    RowGroups rows = new RowGroups(groups, members, behind, false);
    long[] group = rows.of(new Random(on.seed() + members));
    Tensor offsets = rows.ends(group).to(on.device(), ScalarType.Int);
    Tensor values = on.normal(type.dtype(), groups, n);
    Tensor upstream = on.normal(type.dtype(), members + behind, n);
    upstream.narrow(0, members, behind).fill_(new Scalar(Double.NaN));
    Leaves actual = Leaves.on(on, type.dtype(), values);
    Leaves expected = Leaves.reference(values);
    String what = "group rows %s %s n=%d".formatted(type, rows, n);
    Tensor y = actual.backward(upstream, t -> GroupRows.of(t[0], offsets, members + behind));
    Tensor exact =
        expected.backward(
            upstream.narrow(0, 0, members), t -> t[0].index_select(0, Tensors.of(group)));
    on.same(what + ": rows", y.narrow(0, 0, members).to(ScalarType.Double), exact);
    actual.compare(on, expected, what, type.bound(), "x");
    for (int g = 0; g < groups; g++) {
      int number = g;
      if (Arrays.stream(group).noneMatch(of -> of == number)) {
        Tensor idle = actual.gradient(0).select(0, g);
        on.same(what + ": gradient of an empty group", idle, torch.zeros_like(idle));
        break;
      }
    }
  }
}
