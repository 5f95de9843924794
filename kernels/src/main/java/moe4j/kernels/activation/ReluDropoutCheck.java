package moe4j.kernels.activation;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.RowGroups;
import moe4j.kernels.check.Type;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * ReLU after one bias or groups' biases, with dropout and weights and without: groups may be empty,
 * have all rows, and end before the rows do; some sums are exactly 0.
 */
public final class ReluDropoutCheck implements KernelCheck {
  private static final int LAYER = 4;
  private static final int OPERATION = 8;
  private static final long STEP = 11;

  private static final int[] COLUMNS = {264, 9, 1024, 100, 40, 512, 33, 16};

  @Override
  public String name() {
    return "relu and dropout";
  }

  /** One part of several, whose places are a run's, is drawn as in the whole. */
  private record Draws(double p, int part, int parts) {
    Dropout dropout(StepRandom random) {
      return p == 0
          ? Dropout.NONE
          : new Dropout(random.shared().part(part, parts), p, LAYER, OPERATION);
    }
  }

  @Override
  public void run(Comparison on) {
    List<Draws> draws = List.of(new Draws(0, 0, 1), new Draws(0.1, 0, 1), new Draws(0.4, 1, 3));
    List<RowGroups> rows = new ArrayList<>();
    rows.add(new RowGroups(0, 50, 0, false));
    rows.add(new RowGroups(0, 301, 0, false));
    rows.addAll(RowGroups.several());
    int turn = 0;
    for (Type type : Type.values()) {
      for (RowGroups groups : rows) {
        for (Draws drawn : draws) {
          for (ScalarType weight : new ScalarType[] {null, ScalarType.Float, type.dtype()}) {
            int f = COLUMNS[turn++ % COLUMNS.length];
            Scopes.run(() -> check(on, type, groups, f, weight, drawn));
          }
        }
      }
    }
    for (Type type : Type.values()) {
      Scopes.run(() -> withoutBias(on, type));
      Scopes.run(() -> notANumber(on, type));
    }
  }

  private static void check(
      Comparison on, Type type, RowGroups groups, int f, ScalarType weightType, Draws drawn) {
    Random random = new Random(on.seed() + groups.hashCode() * 31L + f);
    long[] of = groups.of(random);
    Tensor ends = groups.ends(of);
    Tensor index = Tensors.of(of, of.length);
    int rows = groups.rows();
    int members = groups.members();
    long[] biasShape = ends == null ? new long[] {f} : new long[] {groups.groups(), f};
    Tensor bias = on.normal(type.dtype(), biasShape);
    Tensor x = on.normal(type.dtype(), rows, f);
    if (members > 2) {
      x.select(0, 1).copy_(bias.view(-1, f).select(0, of[1]).neg());
    }
    Tensor weight = weightType == null ? null : on.normal(weightType, rows);
    Tensor upstream = on.normal(type.dtype(), rows, f);
    x.narrow(0, members, groups.behind()).fill_(new Scalar(Double.NaN));
    upstream.narrow(0, members, groups.behind()).fill_(new Scalar(Double.NaN));
    if (members == 1) {
      // A single sum of both signs may be far less than its terms, and so than their rounding.
      bias.abs_();
      upstream.abs_();
    }

    StepRandom host = new StepRandom(random.nextLong(), STEP, 3, 5);
    StepRandom there = host;
    if (on.device().is_cuda()) {
      Tensor position = Tensors.of(new long[] {STEP, 3}).to(on.device(), ScalarType.Long);
      there = StepRandom.onDevice(host.seed(), position, 5);
    }
    Tensor a = on.leaf(x, type.dtype());
    Tensor b = on.leaf(bias, type.dtype());
    Tensor w = weight == null ? null : on.leaf(weight, weightType);
    Tensor offsets = ends == null ? null : ends.to(on.device(), ScalarType.Int);
    Tensor y = ReluDropout.apply(a, b, offsets, w, drawn.dropout(there));
    Leaves.backward(y, upstream);

    Tensor exactX = x.narrow(0, 0, members).detach().clone().set_requires_grad(true);
    Tensor exactB = bias.detach().clone().set_requires_grad(true);
    Tensor sum = exactX.add(exactB.view(-1, f).index_select(0, index));
    Tensor exact = torch.relu(sum);
    if (drawn.p() > 0) {
      Tensor factors = drawn.dropout(host).factors(torch.empty(rows, f));
      exact = exact.mul(factors.narrow(0, 0, members).to(ScalarType.Double));
    }
    Tensor exactW = null;
    if (weight != null) {
      exactW = weight.narrow(0, 0, members).detach().clone().set_requires_grad(true);
      exact = exact.mul(exactW.unsqueeze(1));
    }
    Leaves.backward(exact, upstream.narrow(0, 0, members));

    String what =
        "relu %s %s f=%d%s%s"
            .formatted(
                type,
                groups,
                f,
                weightType == null ? "" : " weights " + weightType,
                drawn.p() == 0 ? "" : " p=%s %d of %d".formatted(drawn.p, drawn.part, drawn.parts));
    on.close(what, y.narrow(0, 0, members), exact, type.bound());
    on.close(what + ": gradient", a.grad().narrow(0, 0, members), exactX.grad(), type.bound());
    on.close(what + ": bias's gradient", b.grad(), exactB.grad(), type.bound());
    if (weight != null) {
      Tensor own = w.grad().narrow(0, 0, members);
      on.close(what + ": weights' gradient", own, exactW.grad(), type.bound());
    }
    on.same(
        what + ": where it is 0",
        a.grad().narrow(0, 0, members).cpu().ne(new Scalar(0)).logical_or(sum.le(new Scalar(0))),
        exactX.grad().ne(new Scalar(0)).logical_or(sum.le(new Scalar(0))));
    if (groups.behind() > 0) {
      behind(on, what, y, members, groups.behind());
      behind(on, what + ": gradient", a.grad(), members, groups.behind());
      if (weight != null) {
        behind(on, what + ": weights' gradient", w.grad(), members, groups.behind());
      }
    }
  }

  private static void behind(Comparison on, String what, Tensor t, int members, int behind) {
    Tensor rest = t.detach().narrow(0, members, behind);
    on.same(what + ": after the last", rest, torch.zeros_like(rest));
  }

  /** Of any shape, and without a bias. */
  private static void withoutBias(Comparison on, Type type) {
    Tensor x = on.normal(type.dtype(), 3, 7, 24);
    Tensor upstream = on.normal(type.dtype(), 3, 7, 24);
    Leaves actual = Leaves.on(on, type.dtype(), x);
    Leaves expected = Leaves.reference(x);
    String what = "relu %s without a bias".formatted(type);
    on.same(
        what,
        actual
            .backward(upstream, t -> ReluDropout.apply(t[0], null, null, null, Dropout.NONE))
            .to(ScalarType.Double),
        expected.backward(upstream, t -> torch.relu(t[0])));
    on.same(what + ": gradient", actual.gradient(0).to(ScalarType.Double), expected.gradient(0));
  }

  private static void notANumber(Comparison on, Type type) {
    for (int f : new int[] {16, 9}) {
      Tensor x = on.normal(type.dtype(), 5, f);
      x.select(0, 2).select(0, 3).fill_(new Scalar(Double.NaN));
      Tensor bias = on.normal(type.dtype(), f);
      for (boolean weighted : new boolean[] {false, true}) {
        Tensor weight = weighted ? on.leaf(on.normal(ScalarType.Float, 5), ScalarType.Float) : null;
        Tensor y =
            ReluDropout.apply(
                on.leaf(x, type.dtype()), on.leaf(bias, type.dtype()), null, weight, Dropout.NONE);
        on.same(
            "relu %s f=%d%s: not a number".formatted(type, f, weighted ? " weights" : ""),
            y.isnan(),
            x.isnan());
      }
    }
  }
}
