package moe4j.kernels.experts;

import java.util.Random;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.RowGroups;
import moe4j.kernels.check.Type;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Groups' biases on their rows, weighted and not. */
public final class GroupBiasCheck implements KernelCheck {
  @Override
  public String name() {
    return "group bias";
  }

  @Override
  public void run(Comparison on) {
    for (Type type : Type.values()) {
      for (RowGroups groups : RowGroups.several()) {
        for (int h : new int[] {512, 33, 264}) {
          for (ScalarType weight : new ScalarType[] {null, ScalarType.Float, type.dtype()}) {
            Scopes.run(() -> check(on, type, groups, h, weight));
          }
        }
      }
    }
  }

  private static void check(
      Comparison on, Type type, RowGroups groups, int h, ScalarType weightType) {
    long[] of = groups.of(new Random(on.seed() + groups.hashCode() * 31L + h));
    int rows = groups.rows();
    int members = groups.members();
    Tensor bias = on.normal(type.dtype(), groups.groups(), h);
    Tensor y = on.normal(type.dtype(), rows, h);
    Tensor weight = weightType == null ? null : on.normal(weightType, rows);
    Tensor upstream = on.normal(type.dtype(), rows, h);
    upstream.narrow(0, members, groups.behind()).fill_(new Scalar(Double.NaN));
    if (members == 1) {
      // A single sum of both signs may be far less than its terms, and so than their rounding.
      bias.abs_();
      upstream.abs_();
    }

    Tensor a = on.leaf(y, type.dtype());
    Tensor b = on.leaf(bias, type.dtype());
    Tensor w = weight == null ? null : on.leaf(weight, weightType);
    Tensor offsets = groups.ends(of).to(on.device(), ScalarType.Int);
    Tensor result = GroupBias.add(a, b, offsets, w);
    Leaves.backward(result, upstream);

    Tensor exactB = bias.detach().clone().set_requires_grad(true);
    Tensor added = exactB.index_select(0, Tensors.of(of, of.length));
    Tensor exactW = null;
    if (weight != null) {
      exactW = weight.narrow(0, 0, members).detach().clone().set_requires_grad(true);
      added = added.mul(exactW.unsqueeze(1));
    }
    Tensor exact = y.narrow(0, 0, members).add(added);
    Leaves.backward(exact, upstream.narrow(0, 0, members));

    String what =
        "group bias %s %s h=%d%s"
            .formatted(type, groups, h, weightType == null ? "" : " weights " + weightType);
    on.close(what, result.narrow(0, 0, members), exact, type.bound());
    on.same(
        what + ": gradient",
        a.grad().narrow(0, 0, members).to(ScalarType.Double),
        upstream.narrow(0, 0, members));
    on.close(what + ": bias's gradient", b.grad(), exactB.grad(), type.bound());
    if (weight != null) {
      Tensor own = w.grad().narrow(0, 0, members);
      on.close(what + ": weights' gradient", own, exactW.grad(), type.bound());
      Tensor rest = w.grad().narrow(0, members, groups.behind());
      on.same(what + ": weights' gradient after the last", rest, torch.zeros_like(rest));
    }
  }
}
