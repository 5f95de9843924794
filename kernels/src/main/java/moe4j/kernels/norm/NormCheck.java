package moe4j.kernels.norm;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.kernels.dropout.Draw;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The residual stream's addition and norm, LayerNorm and RMSNorm, with each input that may be
 * absent and without it; and a part of each sample compared with the whole.
 */
public final class NormCheck implements KernelCheck {
  private static final double EPSILON = 1e-5;
  private static final String[] NAMES = {"residual", "delta", "bias", "weight", "norm bias"};

  @Override
  public String name() {
    return "norm";
  }

  /** Which of the results get a gradient. */
  private enum Used {
    SUM,
    NORM,
    BOTH
  }

  /**
   * A case.
   *
   * @param sequence rows of each of three samples
   * @param delta whether there is an addition, with its bias or without
   * @param layer LayerNorm, else RMSNorm
   * @param p of the addition's dropout
   * @param used what has a gradient
   */
  private record Case(
      Type type,
      int h,
      int sequence,
      boolean delta,
      boolean bias,
      boolean layer,
      double p,
      Used used) {
    @Override
    public String toString() {
      return "%snorm %s %d x %d%s%s%s"
          .formatted(
              layer ? "layer" : "rms",
              type,
              3 * sequence,
              h,
              delta ? " add" : "",
              bias ? " bias" : "",
              p > 0 ? " drop" : "");
    }
  }

  @Override
  public void run(Comparison on) {
    for (Type type : Type.values()) {
      int[][] sizes = {
        {768, 37},
        {1024, 11},
        {2048, 3},
        {4096, 5},
        {8192, 1},
        {776, 3},
        {100, 13},
        {7, 71},
        {64, 100}
      };
      for (int[] size : sizes) {
        int h = size[0];
        int rows = size[1];
        for (boolean layer : new boolean[] {true, false}) {
          check(on, new Case(type, h, rows, false, false, layer, 0, Used.NORM));
          check(on, new Case(type, h, rows, true, layer, layer, 0, Used.BOTH));
          check(on, new Case(type, h, rows, true, layer, layer, 0.2, Used.BOTH));
        }
      }
      for (int h : new int[] {768, 7}) {
        check(on, new Case(type, h, 9, true, true, true, 0.2, Used.NORM));
        check(on, new Case(type, h, 9, true, true, true, 0.2, Used.SUM));
      }
      // Of rows that are kept in registers, and of others.
      for (int[] size : new int[][] {{768, 6}, {8192, 2}, {776, 8}, {100, 4}, {7, 12}}) {
        Case c = new Case(type, size[0], size[1], true, true, true, 0.2, Used.BOTH);
        Scopes.run(() -> parts(on, c, 2));
      }
    }
  }

  private static void check(Comparison on, Case c) {
    Scopes.run(() -> compare(on, c));
  }

  private static void compare(Comparison on, Case c) {
    ScalarType dtype = c.type.dtype();
    long[] shape = {3, c.sequence, c.h};
    // Far enough from zero for the mean to matter.
    Tensor residual = on.normal(dtype, shape).add(new Scalar(0.5));
    Tensor delta = c.delta ? on.normal(dtype, shape) : null;
    Tensor bias = c.bias ? on.normal(dtype, c.h) : null;
    Tensor weight = on.normal(dtype, c.h);
    Tensor normBias = c.layer ? on.normal(dtype, c.h) : null;
    Tensor ofSum = on.normal(dtype, shape);
    Tensor ofNorm = on.normal(dtype, shape);
    Tensor[] upstream =
        c.delta
            ? new Tensor[] {c.used != Used.NORM ? ofSum : null, c.used != Used.SUM ? ofNorm : null}
            : new Tensor[] {ofNorm};
    StepRandom random = new StepRandom(on.seed(), 11, 5, 3);
    Dropout drop = c.p == 0 ? Dropout.NONE : new Dropout(random, c.p, 2, 3);
    Leaves actual = Leaves.on(on, dtype, rounded(residual, dtype), delta, bias, weight, normBias);
    Leaves expected = Leaves.reference(rounded(residual, dtype), delta, bias, weight, normBias);
    Tensor[] results =
        actual.backward(
            upstream,
            t -> {
              if (!c.delta) {
                return new Tensor[] {AddNorm.norm(t[0], t[3], t[4], EPSILON)};
              }
              AddNorm.Result result = AddNorm.apply(t[0], t[1], t[2], drop, t[3], t[4], EPSILON);
              return new Tensor[] {result.sum(), result.normed()};
            });
    Tensor kept = c.p == 0 ? null : kept(random, c, shape);
    Tensor[] wanted = expected.backward(upstream, t -> define(t, kept, dtype));
    String[] names = c.delta ? new String[] {"sum", "normed"} : new String[] {"normed"};
    for (int i = 0; i < results.length; i++) {
      on.close(c + ": " + names[i], results[i], wanted[i], c.type.bound());
    }
    Tensor[] inputs = {residual, delta, bias, weight, normBias};
    for (int i = 0; i < NAMES.length; i++) {
      if (inputs[i] != null) {
        gradient(on, c, i, actual.gradient(i), expected.gradient(i));
      }
    }
  }

  /** Parts of the tokens, of which each drops what the whole drops there. */
  private static void parts(Comparison on, Case c, int count) {
    ScalarType dtype = c.type.dtype();
    long[] shape = {3, c.sequence, c.h};
    Tensor[] inputs = {
      on.normal(dtype, shape),
      on.normal(dtype, shape),
      on.normal(dtype, c.h),
      on.normal(dtype, c.h),
      on.normal(dtype, c.h)
    };
    Tensor[] upstream = {on.normal(dtype, shape), on.normal(dtype, shape)};
    StepRandom random = new StepRandom(on.seed(), 11, 5, 3);
    Leaves whole = Leaves.on(on, dtype, inputs);
    Tensor[] wanted = whole.backward(upstream, t -> dropped(t, random, c.p));
    long rows = c.sequence / count;
    Tensor[] sums = new Tensor[3];
    for (int i = 0; i < count; i++) {
      StepRandom part = random.slice(i, count);
      Leaves leaves =
          Leaves.on(
              on,
              dtype,
              rows(inputs[0], i, rows),
              rows(inputs[1], i, rows),
              inputs[2],
              inputs[3],
              inputs[4]);
      Tensor[] own = {rows(upstream[0], i, rows), rows(upstream[1], i, rows)};
      Tensor[] results = leaves.backward(own, t -> dropped(t, part, c.p));
      String what = "part %d of %d, %s".formatted(i, count, c);
      on.close(what + ": sum", results[0], rows(wanted[0], i, rows), c.type.bound());
      on.close(what + ": normed", results[1], rows(wanted[1], i, rows), c.type.bound());
      for (int j = 0; j < 2; j++) {
        Tensor gradient = rows(whole.gradient(j), i, rows);
        on.close(what + ": gradient of " + NAMES[j], leaves.gradient(j), gradient, c.type.bound());
      }
      Tensor kept = rows(whole.gradient(1), i, rows).ne(new Scalar(0));
      on.same(what + ": kept", leaves.gradient(1).ne(new Scalar(0)), kept);
      for (int j = 0; j < 3; j++) {
        Tensor gradient = leaves.gradient(2 + j).cpu().to(ScalarType.Double);
        sums[j] = i == 0 ? gradient : sums[j].add(gradient);
      }
    }
    for (int j = 0; j < 3; j++) {
      on.close(
          "parts of %s: gradient of %s".formatted(c, NAMES[2 + j]),
          sums[j],
          whole.gradient(2 + j),
          gradientBound(on, c.type));
    }
  }

  private static Tensor[] dropped(Tensor[] t, StepRandom random, double p) {
    Dropout drop = new Dropout(random, p, 2, 3);
    AddNorm.Result result = AddNorm.apply(t[0], t[1], t[2], drop, t[3], t[4], EPSILON);
    return new Tensor[] {result.sum(), result.normed()};
  }

  /** The tokens of a part that has so many of each sample: as many of all. */
  private static Tensor rows(Tensor t, long part, long rows) {
    long each = t.size(0) * rows;
    return t.flatten(0, 1).narrow(0, part * each, each).contiguous();
  }

  /** A leaf that has no part in what is used has no gradient, or zeros. */
  private static void gradient(Comparison on, Case c, int input, Tensor actual, Tensor expected) {
    boolean unused = c.used == Used.SUM && input >= 3;
    if (!unused || actual.defined()) {
      on.close(
          c + ": gradient of " + NAMES[input],
          actual,
          unused ? torch.zeros(c.h) : expected,
          gradientBound(on, c.type));
    }
  }

  /** On a CPU each operation rounds, and libtorch adds up a LayerNorm's gradients in bf16. */
  private static double gradientBound(Comparison on, Type type) {
    return on.device().is_cpu() && type == Type.BF16 ? 5e-2 : type.bound();
  }

  private static Tensor rounded(Tensor x, ScalarType dtype) {
    return x.to(dtype).to(ScalarType.Double);
  }

  /** What dropout multiplies by, from the CPU's draws. */
  private static Tensor kept(StepRandom random, Case c, long[] shape) {
    return Draw.uniform(random, torch.empty(shape), 2, 3)
        .ge(new Scalar(c.p))
        .to(ScalarType.Double)
        .mul(new Scalar(1 / (1 - c.p)));
  }

  private static Tensor[] define(Tensor[] t, Tensor kept, ScalarType dtype) {
    Tensor sum = t[0];
    if (t[1] != null) {
      Tensor added = t[2] == null ? t[1] : t[1].add(t[2]);
      sum = sum.add(kept == null ? added : added.mul(kept));
      // What is normalised is the sum as the type has it.
      sum = sum.add(rounded(sum.detach(), dtype).sub(sum.detach()));
    }
    long[] last = {-1};
    Tensor centred = t[4] == null ? sum : sum.sub(mean(sum, last));
    Tensor scale = mean(centred.square(), last).add(new Scalar(EPSILON)).rsqrt();
    Tensor normed = centred.mul(scale).mul(t[3]);
    normed = t[4] == null ? normed : normed.add(t[4]);
    return t[1] == null ? new Tensor[] {normed} : new Tensor[] {sum, normed};
  }

  private static Tensor mean(Tensor x, long[] dims) {
    return x.mean(dims, true, new org.bytedeco.pytorch.ScalarTypeOptional());
  }
}
