package moe4j.kernels.experts;

import moe4j.kernels.product.GroupRows;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The reference: each group's rows by themselves, in libtorch's operations and in any type of
 * numbers; bf16 is computed in fp32, and what is handed out rounded once, as kernels do. It asks
 * the device where groups end.
 */
final class PlainProducts extends GroupedProducts {
  private final ScalarType type;
  private final Tensor fc1;
  private final Tensor bias1;
  private final Tensor fc2;
  private final Tensor bias2;
  private final Tensor offsets;
  private final Tensor weight;
  private final Between between;
  private final long[] ends;

  PlainProducts(Groups groups, Between between) {
    ExpertMlp.Weights weights = groups.weights();
    this.type = Tensors.dtype(weights.fc1());
    this.fc1 = weights.fc1();
    this.bias1 = weights.bias1();
    this.fc2 = weights.fc2();
    this.bias2 = weights.bias2();
    this.offsets = groups.offsets();
    this.weight = groups.weight();
    this.between = between;
    this.ends = Tensors.longs(groups.offsets());
  }

  @Override
  Up up(Tensor x) {
    Tensor inner = products(x, fc1.transpose(1, 2)).to(type);
    Tensor result = dropped(between.activation().apply(biased(inner)));
    Tensor kept = between.keepsResult() ? result.to(type) : inner;
    return new Up(kept, weighted(result).to(type));
  }

  private Tensor biased(Tensor inner) {
    return bias1 == null ? wide(inner) : wide(inner).add(bias(bias1));
  }

  @Override
  Tensor down(Tensor activated) {
    Tensor y = products(activated, fc2.transpose(1, 2));
    return (bias2 == null ? y : y.add(weighted(bias(bias2)))).to(type);
  }

  @Override
  Down backward(Tensor gradient, Tensor kept, Wanted wanted) {
    Tensor dy = wide(gradient);
    Tensor du = products(dy, fc2);
    Tensor result;
    Tensor dinner;
    if (between.keepsResult()) {
      result = wide(kept);
      dinner = between.gradientByResult(weighted(du), result);
    } else {
      Tensor before = biased(kept);
      result = dropped(between.activation().apply(before));
      dinner = between.activation().gradient(weighted(dropped(du)), before);
    }
    Tensor dots = null;
    if (wanted.weight()) {
      dots = du.mul(result).sum(1);
      if (bias2 != null) {
        dots = dots.add(dy.mul(bias(bias2)).sum(1));
      }
      dots = zeroed(dots).to(Tensors.dtype(weight));
    }
    return new Down(
        dinner.to(type),
        dots,
        wanted.bias1() ? groupSums(dinner) : null,
        wanted.bias2() ? groupSums(weighted(dy)) : null);
  }

  @Override
  Tensor inputGradient(Tensor inner) {
    return products(inner, fc1).to(type);
  }

  @Override
  Tensor weightGradient(Tensor left, Tensor right, Tensor parameter) {
    Tensor a = wide(left);
    Tensor b = wide(right);
    TensorVector groups = new TensorVector();
    for (int g = 0; g < ends.length; g++) {
      groups.push_back(group(a, g).t().mm(group(b, g)));
    }
    return torch.stack(groups, 0).to(type);
  }

  private static Tensor wide(Tensor t) {
    return Tensors.dtype(t) == ScalarType.BFloat16 ? t.to(ScalarType.Float) : t;
  }

  private Tensor group(Tensor rows, int number) {
    return Tensors.slice(rows, 0, number == 0 ? 0 : ends[number - 1], ends[number]);
  }

  /** Each group's rows times its matrix, [G, k, n]; zeros after the last. */
  private Tensor products(Tensor rows, Tensor matrices) {
    Tensor all = wide(rows);
    TensorVector groups = new TensorVector();
    for (int g = 0; g < ends.length; g++) {
      groups.push_back(group(all, g).mm(wide(matrices.select(0, g))));
    }
    long behind = rows.size(0) - ends[ends.length - 1];
    groups.push_back(torch.zeros(new long[] {behind, matrices.size(2)}, all.options()));
    return torch.cat(groups, 0);
  }

  /** The bias of each row's group. */
  private Tensor bias(Tensor biases) {
    return wide(GroupRows.of(biases, offsets, weight.numel()));
  }

  private Tensor groupSums(Tensor rows) {
    TensorVector groups = new TensorVector();
    for (int g = 0; g < ends.length; g++) {
      groups.push_back(group(rows, g).sum(0));
    }
    return torch.stack(groups, 0).to(type);
  }

  private Tensor weighted(Tensor rows) {
    return rows.mul(weight.to(Tensors.dtype(rows)).unsqueeze(1));
  }

  private Tensor dropped(Tensor rows) {
    return between.drop().isNone() ? rows : rows.mul(between.drop().factors(rows));
  }

  /** Zeros after the last group. */
  private Tensor zeroed(Tensor numbers) {
    Tensor none = GroupRows.none(offsets, weight.numel()).squeeze(1);
    return numbers.masked_fill(none, new Scalar(0));
  }
}
