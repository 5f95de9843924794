package moe4j.kernels.attention;

import moe4j.kernels.attention.RelativeAttentionKernel.Most;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.kernels.check.Type;
import moe4j.kernels.dropout.Draw;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Relative attention with memory, its output and five gradients, against its formula in fp64: sizes
 * that are multiples of nothing, memory or none, queries that see nothing, dropout, in memory that
 * held no numbers; and that deterministic algorithms give the same bits twice.
 */
public final class RelativeAttentionCheck implements KernelCheck {
  private static final String[] NAMES = {
    "queries", "keys and values", "positions", "content bias", "position bias"
  };
  private static final Most[] LESS = {
    new Most(0, Long.MAX_VALUE), new Most(Long.MAX_VALUE, 0), new Most(0, 0)
  };
  private static final int LAYER = 3;
  private static final int OPERATION = 2;

  @Override
  public String name() {
    return "relative attention";
  }

  private record Shape(int samples, int queries, int memory, int heads, int channels) {}

  /**
   * A case.
   *
   * @param first the first key that is there, or a negative number where none is given
   */
  private record Case(Type type, Shape shape, int first, boolean sameLength, double p) {
    @Override
    public String toString() {
      return "relative %s %dx%d+%d %dx%d%s%s%s"
          .formatted(
              type,
              shape.samples,
              shape.memory,
              shape.queries,
              shape.heads,
              shape.channels,
              first < 0 ? "" : " from " + first,
              sameLength ? " same length" : "",
              p > 0 ? " drop" : "");
    }

    int keys() {
      return shape.memory + shape.queries;
    }
  }

  @Override
  public void run(Comparison on) {
    for (Type type : Type.values()) {
      // Few numbers of channels: each is compiled anew, in three kernels.
      Case[] cases = {
        new Case(type, new Shape(2, 128, 128, 2, 64), -1, false, 0),
        new Case(type, new Shape(3, 37, 53, 3, 24), -1, false, 0),
        new Case(type, new Shape(2, 150, 70, 3, 24), 90, false, 0),
        new Case(type, new Shape(2, 70, 150, 2, 64), 100, true, 0),
        new Case(type, new Shape(1, 150, 40, 2, 56), 0, true, 0),
        new Case(type, new Shape(2, 1, 63, 2, 64), -1, false, 0),
        new Case(type, new Shape(2, 1, 0, 1, 24), -1, false, 0),
        // As many heads as make up for few channels: of ten numbers all can nearly cancel by
        // chance.
        new Case(type, new Shape(2, 77, 0, 8, 5), 30, false, 0),
        new Case(type, new Shape(1, 70, 30, 2, 128), 40, false, 0),
        new Case(type, new Shape(2, 30, 30, 2, 24), 60, false, 0),
        new Case(type, new Shape(3, 40, 33, 2, 24), 3, false, 0.3),
        new Case(type, new Shape(2, 33, 40, 3, 64), 3, true, 0.1)
      };
      for (Case c : cases) {
        Scopes.run(() -> check(on, c, null));
        // Where memory is not enough for weights, they are computed again, in one kernel or in all.
        for (Most most : type == Type.BF16 && on.device().is_cuda() ? LESS : new Most[0]) {
          Scopes.run(() -> check(on, c, most));
        }
      }
      Scopes.run(() -> twice(on, cases[2]));
    }
  }

  private static void check(Comparison on, Case c, Most most) {
    Tensor[] inputs = inputs(on, c);
    Tensor upstream =
        on.normal(
            c.type.dtype(), c.shape.samples, c.shape.queries, c.shape.heads, c.shape.channels);
    Leaves actual = Leaves.on(on, c.type.dtype(), inputs);
    Leaves expected = Leaves.reference(inputs);
    Dropout drop = drop(on, c);
    Tensor ours =
        actual.backward(
            upstream,
            t -> {
              poison(on);
              Tensor first = first(on, c);
              Tensor out =
                  most == null
                      ? attend(t, c, first, drop)
                      : new RelativeAttentionKernel(first, c.sameLength, drop, most).apply(t)[0];
              poison(on);
              return out;
            });
    Tensor theirs = expected.backward(upstream, t -> formula(t, c, keep(on, c)));
    String name = c + (most == null ? "" : " " + most);
    on.close(name + ": output", ours, theirs, c.type.bound());
    actual.compare(on, expected, name, c.type.bound(), NAMES);
  }

  /**
   * Memory that held no numbers is the next to be handed out: tiles of weights that no kernel has
   * written are to count nothing. Blocks of all sizes, so that whatever is asked for comes of them.
   */
  private static void poison(Comparison on) {
    if (on.device().is_cuda()) {
      Scopes.run(
          () -> {
            for (long bytes = 4L << 20; bytes >= 512; bytes /= 2) {
              for (int i = 0; i < 8; i++) {
                Tensors.full(Double.NaN, ScalarType.BFloat16, on.device(), bytes / 2);
              }
            }
          });
    }
  }

  /** Deterministic algorithms: right, and equal bit for bit. */
  private static void twice(Comparison on, Case c) {
    boolean before = torch.globalContext().deterministicAlgorithms();
    Tensor[] inputs = inputs(on, c);
    Tensor upstream =
        on.normal(
            c.type.dtype(), c.shape.samples, c.shape.queries, c.shape.heads, c.shape.channels);
    Leaves expected = Leaves.reference(inputs);
    expected.backward(upstream, t -> formula(t, c, keep(on, c)));
    Leaves[] actual = new Leaves[2];
    try {
      torch.globalContext().setDeterministicAlgorithms(true, false);
      for (int i = 0; i < actual.length; i++) {
        actual[i] = Leaves.on(on, c.type.dtype(), inputs);
        actual[i].backward(upstream, t -> attend(t, c, first(on, c), Dropout.NONE));
      }
    } finally {
      torch.globalContext().setDeterministicAlgorithms(before, false);
    }
    actual[0].compare(on, expected, "deterministic " + c, c.type.bound(), NAMES);
    for (int i = 0; i < NAMES.length; i++) {
      on.same(
          "deterministic %s: gradient of %s twice".formatted(c, NAMES[i]),
          actual[1].gradient(i),
          actual[0].gradient(i));
    }
  }

  private static Tensor[] inputs(Comparison on, Case c) {
    ScalarType type = c.type.dtype();
    return new Tensor[] {
      on.normal(type, c.shape.samples, c.shape.queries, c.shape.heads, c.shape.channels),
      on.normal(type, c.shape.samples, c.keys(), 2, c.shape.heads, c.shape.channels),
      on.normal(type, c.keys(), c.shape.heads, c.shape.channels),
      on.normal(type, c.shape.heads, c.shape.channels),
      on.normal(type, c.shape.heads, c.shape.channels)
    };
  }

  private static Tensor attend(Tensor[] t, Case c, Tensor first, Dropout drop) {
    return RelativeAttention.apply(t[0], t[1], t[2], t[3], t[4], first, c.sameLength, drop);
  }

  private static Tensor first(Comparison on, Case c) {
    return c.first < 0 ? null : Tensors.of(new long[] {c.first}).to(on.device(), ScalarType.Int);
  }

  private static StepRandom random(Comparison on, Case c) {
    return new StepRandom(on.seed() * 0x9E3779B97F4A7C15L, 7, 5, c.shape.samples);
  }

  private static Dropout drop(Comparison on, Case c) {
    return c.p == 0 ? Dropout.NONE : new Dropout(random(on, c), c.p, LAYER, OPERATION);
  }

  /** What weights are multiplied by, in fp64 on the CPU; null without dropout. */
  private static Tensor keep(Comparison on, Case c) {
    if (c.p == 0) {
      return null;
    }
    Tensor like =
        torch.empty(new long[] {c.shape.samples, c.shape.heads, c.shape.queries, c.keys()});
    return Draw.uniform(random(on, c), like, LAYER, OPERATION)
        .ge(new Scalar(c.p))
        .to(ScalarType.Double)
        .mul(new Scalar(1 / (1 - c.p)));
  }

  /** The definition: distances gathered, what is not seen multiplied by zero. */
  private static Tensor formula(Tensor[] t, Case c, Tensor keep) {
    Tensor i = torch.arange(new Scalar(c.shape.queries)).unsqueeze(1);
    Tensor j = torch.arange(new Scalar(c.keys()));
    Tensor distance = i.add(new Scalar(c.shape.memory)).sub(j);
    Tensor seen = distance.ge(new Scalar(0)).logical_and(j.ge(new Scalar(Math.max(c.first, 0))));
    if (c.sameLength) {
      seen = seen.logical_and(j.gt(i));
    }
    long[] shape = {c.shape.samples, c.shape.heads, c.shape.queries, c.keys()};
    Tensor content = t[0].add(t[3]).transpose(1, 2).matmul(t[1].select(2, 0).permute(0, 2, 3, 1));
    Tensor positions =
        t[0].add(t[4])
            .transpose(1, 2)
            .matmul(t[2].permute(1, 2, 0))
            .gather(3, distance.clamp_min(new Scalar(0)).to(ScalarType.Long).expand(shape));
    Tensor scores = content.add(positions).mul(new Scalar(1 / Math.sqrt(c.shape.channels)));
    Tensor weights = scores.masked_fill(seen.logical_not(), new Scalar(-1e9)).softmax(-1);
    weights = weights.mul(seen);
    Tensor kept = keep == null ? weights : weights.mul(keep);
    return kept.matmul(t[1].select(2, 1).transpose(1, 2)).transpose(1, 2);
  }
}
