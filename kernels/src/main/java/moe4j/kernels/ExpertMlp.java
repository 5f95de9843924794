package moe4j.kernels;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.IntConsumer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Two-layer MLPs over consecutive groups of rows on a CPU, one group after the other from the first
 * product to the last, so that what lies between is still in the cache. Its reference is the same
 * in {@link GroupedMatmul}s.
 *
 * <p>oneDNN compiles a kernel for each number of rows it meets, and a group has another number at
 * each step. So groups are computed in stretches whose lengths are multiples of {@link #ROUNDING}:
 * the rows that are too many are those of neighbouring groups, and their results are dropped.
 */
public final class ExpertMlp {
  /** What a stretch's rows are a multiple of, where there are that many. */
  static final long ROUNDING = 32;

  private ExpertMlp() {}

  /** What stands between the two products. */
  public interface Activation {
    /** [P, inputs f] to [P, f]. */
    Tensor apply(Tensor x);

    /**
     * The gradient of x, [P, inputs f].
     *
     * @param gradient of the result, [P, f]
     */
    Tensor gradient(Tensor gradient, Tensor x);
  }

  /** Whether the weights are where this computes. */
  public static boolean takes(Tensor fc1) {
    return fc1.is_cpu();
  }

  /**
   * {@code y[r] = weight[r] act(x[r] fc1[g]^T) fc2[g]^T} for the group g that row r is in; 0 behind
   * the last group.
   *
   * @param x [R, h], its groups one behind the other
   * @param weight [R]
   * @param fc1 [G, inputs f, h]
   * @param fc2 [G, h, f]
   * @param offsets int32 [G], where each group ends
   * @return [R, h]
   */
  public static Tensor apply(
      Tensor x, Tensor weight, Tensor fc1, Tensor fc2, Tensor offsets, Activation activation) {
    return new Groups(activation).apply(x, weight, fc1, fc2, offsets)[0];
  }

  /** A group's rows, and the stretch they are computed in. */
  private record Span(int group, long start, long size, long from, long length) {
    Tensor stretch(Tensor all) {
      return all.narrow(0, from, length);
    }

    /** The group's own rows out of all. */
    Tensor own(Tensor all) {
      return all.narrow(0, start, size);
    }

    /** The group's own rows out of its stretch. */
    Tensor inner(Tensor stretch) {
      return stretch.narrow(0, start - from, size);
    }
  }

  private static List<Span> spans(long[] ends, long rows) {
    List<Span> spans = new ArrayList<>();
    long start = 0;
    for (int g = 0; g < ends.length; g++) {
      long size = ends[g] - start;
      if (size > 0) {
        long length = Math.min((size + ROUNDING - 1) / ROUNDING * ROUNDING, rows);
        spans.add(new Span(g, start, size, Math.min(start, rows - length), length));
      }
      start = ends[g];
    }
    return spans;
  }

  private static final class Groups extends CustomFunction {
    private final Activation activation;
    private List<Span> spans;
    private Tensor x;
    private Tensor weight;
    private Tensor fc1;
    private Tensor fc2;

    /** By span: before the activation, behind it, and the result before it is weighted. */
    private Tensor[] inner;

    private Tensor[] activated;
    private Tensor[] outer;

    Groups(Activation activation) {
      this.activation = activation;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      x = save(inputs[0]);
      weight = save(inputs[1]);
      fc1 = save(inputs[2]);
      fc2 = save(inputs[3]);
      long[] ends = Tensors.longs(inputs[4]);
      long rows = x.size(0);
      spans = spans(ends, rows);
      inner = new Tensor[spans.size()];
      activated = new Tensor[spans.size()];
      outer = new Tensor[spans.size()];
      Tensor all = torch.empty_like(x);
      forEachSpan(i -> forward(i, all));
      for (Tensor[] kept : List.of(inner, activated, outer)) {
        for (int i = 0; isRecorded() && i < kept.length; i++) {
          Tensor made = kept[i];
          kept[i] = save(made);
          made.close();
        }
      }
      long last = ends[ends.length - 1];
      all.narrow(0, last, rows - last).zero_();
      return new Tensor[] {all};
    }

    /**
     * Groups of more than a thread's share of the rows one after the other, each on all threads;
     * then the others side by side, the largest first.
     */
    private void forEachSpan(IntConsumer body) {
      long share = x.size(0) / torch.get_num_threads();
      List<Integer> small = new ArrayList<>();
      for (int i = 0; i < spans.size(); i++) {
        int index = i;
        if (spans.get(i).size > share) {
          Scopes.run(() -> body.accept(index));
        } else {
          small.add(i);
        }
      }
      small.sort(Comparator.comparingLong(i -> -spans.get(i).size));
      List<Runnable> tasks = new ArrayList<>();
      small.forEach(i -> tasks.add(() -> body.accept(i)));
      SideBySide.run(tasks);
    }

    private void forward(int index, Tensor all) {
      Span span = spans.get(index);
      Tensor a = Gemm.product(span.stretch(x), fc1.select(0, span.group), null);
      Tensor u = activation.apply(a);
      Tensor y = Gemm.product(u, fc2.select(0, span.group), null);
      torch.mul_out(span.own(all), span.inner(y), span.own(weight).unsqueeze(1));
      if (isRecorded()) {
        inner[index] = retained(a);
        activated[index] = retained(u);
        outer[index] = retained(y);
      }
    }

    /** Out of the task's scope. */
    private static Tensor retained(Tensor t) {
      t.retainReference();
      return t;
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor[] results = {
        torch.zeros_like(x), torch.zeros_like(weight), torch.empty_like(fc1), torch.empty_like(fc2)
      };
      forEachSpan(i -> backward(i, gradients[0], results));
      zeroUnused(results[2]);
      zeroUnused(results[3]);
      return new Tensor[] {
        needsGradient(0) ? results[0] : null,
        needsGradient(1) ? results[1] : null,
        needsGradient(2) ? results[2] : null,
        needsGradient(3) ? results[3] : null,
        null
      };
    }

    private void backward(int index, Tensor gradient, Tensor[] results) {
      Span span = spans.get(index);
      Tensor g = span.stretch(gradient);
      span.own(results[1]).copy_(span.inner(g).mul(span.inner(outer[index])).sum(1));
      // A weight of 0 takes the neighbours' rows out of every sum over rows.
      Tensor masked = torch.zeros(new long[] {span.length}, weight.options());
      span.inner(masked).copy_(span.own(weight));
      Tensor dy = g.mul(masked.unsqueeze(1));
      Tensor w1 = fc1.select(0, span.group);
      Tensor w2 = fc2.select(0, span.group);
      Tensor da = activation.gradient(Gemm.inputGradient(dy, w2), inner[index]);
      if (needsGradient(3)) {
        Tensor u = activated[index];
        results[3].select(0, span.group).copy_(Gemm.weightGradients(dy, u, w2, false).get(0));
      }
      if (needsGradient(2)) {
        Tensor part = span.stretch(x);
        results[2].select(0, span.group).copy_(Gemm.weightGradients(da, part, w1, false).get(0));
      }
      if (needsGradient(0)) {
        span.own(results[0]).copy_(span.inner(Gemm.inputGradient(da, w1)));
      }
    }

    private void zeroUnused(Tensor gradient) {
      boolean[] used = new boolean[Math.toIntExact(gradient.size(0))];
      spans.forEach(span -> used[span.group] = true);
      for (int g = 0; g < used.length; g++) {
        if (!used[g]) {
          gradient.select(0, g).zero_();
        }
      }
    }
  }
}
