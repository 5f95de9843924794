package moe4j.kernels.experts;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.IntConsumer;
import moe4j.kernels.product.Gemm;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.SideBySide;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Two-layer MLPs over consecutive groups of rows on a CPU, one group after the other from the first
 * product to the last, so that what lies between is still in the cache. Its reference is the same
 * in {@link GroupedMatmul}s.
 *
 * <p>oneDNN compiles a kernel for each number of rows it meets, and a group has another number at
 * each step. So groups are computed in stretches of {@link #rounded} lengths: the surplus rows are
 * those of neighbouring groups, and their results are dropped. (So a number that is not finite may
 * reach the gradients of a neighbour's weights, too; such a step is lost in any case.)
 */
public final class ExpertMlp {
  /** The lengths of stretches are multiples of this. */
  private static final long GRAIN = 16;

  /** How many lengths there are between a power of two and the next. */
  private static final long LENGTHS = 32;

  private ExpertMlp() {}

  /** The activations that kernels know, and all others. */
  public enum Form {
    /** {@code x Phi(x)}. */
    GELU,
    /** {@code max(x, 0)}. */
    RELU,
    /** {@code silu(a) b} with x = [a, b]. */
    SWIGLU,
    /** What tensor operations compute. */
    OTHER
  }

  /** The activation between the two products. */
  public interface Activation {
    /** What a kernel may compute in place of the following. */
    default Form form() {
      return Form.OTHER;
    }

    /** The activation of x, [P, inputs f]: [P, f]. */
    Tensor apply(Tensor x);

    /**
     * The gradient of x, [P, inputs f].
     *
     * @param gradient of the result, [P, f]
     */
    Tensor gradient(Tensor gradient, Tensor x);
  }

  /**
   * The weights of G groups' MLPs.
   *
   * @param fc1 [G, inputs f, h]
   * @param bias1 [G, inputs f], or null
   * @param fc2 [G, h, f]
   * @param bias2 [G, h], or null
   */
  public record Weights(Tensor fc1, Tensor bias1, Tensor fc2, Tensor bias2) {}

  /** Whether this computes with such weights: on a CPU. */
  public static boolean takes(Tensor fc1) {
    return fc1.is_cpu();
  }

  /**
   * {@code y[r] = weight[r] (act(x[r] fc1[g]^T + bias1[g]) fc2[g]^T + bias2[g])} for the group g
   * that row r is in; 0 after the last group.
   *
   * @param x [R, h], its groups one after the other, fp32 or bf16
   * @param weight [R], in the same type
   * @param offsets int32 [G], where each group ends
   * @return [R, h]
   */
  public static Tensor apply(
      Tensor x, Tensor weight, Weights weights, Tensor offsets, Activation activation) {
    return apply(x, weight, weights, offsets, activation, null);
  }

  /**
   * The same with dropout between the activation and the second product.
   *
   * @param factors [R, f], what the activations are multiplied by, or null; it gets no gradient
   */
  public static Tensor apply(
      Tensor x,
      Tensor weight,
      Weights weights,
      Tensor offsets,
      Activation activation,
      Tensor factors) {
    Tensor[] outputs =
        new Groups(activation)
            .apply(
                x,
                weight,
                weights.fc1(),
                weights.fc2(),
                offsets,
                weights.bias1(),
                weights.bias2(),
                factors);
    return outputs[0];
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

  /** The length of the stretch for so many rows: few lengths, and few rows too many. */
  static long rounded(long size) {
    long grain = Math.max(GRAIN, Long.highestOneBit(size) / LENGTHS);
    return (size + grain - 1) / grain * grain;
  }

  private static List<Span> spans(long[] ends, long rows) {
    List<Span> spans = new ArrayList<>();
    long start = 0;
    for (int g = 0; g < ends.length; g++) {
      long size = ends[g] - start;
      if (size > 0) {
        long length = Math.min(rounded(size), rows);
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
    private Tensor bias1;
    private Tensor bias2;
    private Tensor factors;

    /** fc1 and fc2 as products take them, of all groups. */
    private Tensor operand1;

    private Tensor operand2;

    /** By span: before the activation, after it, and the result before it is weighted. */
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
      bias1 = inputs[5];
      bias2 = inputs[6];
      factors = inputs[7] == null ? null : save(inputs[7]);
      operands();
      long[] ends = Tensors.longs(inputs[4]);
      long rows = x.size(0);
      spans = spans(ends, rows);
      inner = new Tensor[spans.size()];
      activated = new Tensor[spans.size()];
      outer = new Tensor[spans.size()];
      Tensor all = torch.empty_like(x);
      List<Integer> small = new ArrayList<>();
      large(small).forEach(i -> Scopes.run(() -> forward(i, all)));
      SideBySide.run(tasks(small, i -> forward(i, all)));
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
     * Forward and backward each call this: what is made for products alone is not kept between
     * them.
     */
    private void operands() {
      operand1 = Gemm.operand(fc1);
      operand2 = Gemm.operand(fc2);
    }

    /**
     * The spans of more than a thread's share of the rows, to be computed one after the other, each
     * on all threads; the others' numbers go to {@code small}, the largest first.
     */
    private List<Integer> large(List<Integer> small) {
      long share = x.size(0) / torch.get_num_threads();
      List<Integer> large = new ArrayList<>();
      for (int i = 0; i < spans.size(); i++) {
        (spans.get(i).size > share ? large : small).add(i);
      }
      small.sort(Comparator.comparingLong(i -> -spans.get(i).size));
      return large;
    }

    private void forward(int index, Tensor all) {
      Span span = spans.get(index);
      Tensor a = Gemm.product(span.stretch(x), operand1.select(0, span.group), bias(bias1, span));
      Tensor u = dropped(activation.apply(a), span);
      Tensor y = Gemm.product(u, operand2.select(0, span.group), bias(bias2, span));
      torch.mul_out(span.own(all), span.inner(y), span.own(weight).unsqueeze(1));
      if (isRecorded()) {
        inner[index] = retained(a);
        activated[index] = retained(u);
        outer[index] = retained(y);
      }
    }

    private Tensor dropped(Tensor stretch, Span span) {
      return factors == null ? stretch : stretch.mul(span.stretch(factors));
    }

    private static Tensor bias(Tensor biases, Span span) {
      return biases == null ? null : biases.select(0, span.group);
    }

    /** Keeps a tensor beyond the task's scope. */
    private static Tensor retained(Tensor t) {
      t.retainReference();
      return t;
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      operands();
      Tensor[] results = {
        torch.zeros_like(x),
        torch.zeros_like(weight),
        torch.empty_like(fc1),
        torch.empty_like(fc2),
        null,
        needsGradient(5) ? torch.zeros(new long[] {fc1.size(0), fc1.size(1)}, x.options()) : null,
        needsGradient(6) ? torch.zeros(new long[] {fc2.size(0), fc2.size(1)}, x.options()) : null,
        null
      };
      List<Integer> small = new ArrayList<>();
      large(small).forEach(i -> Scopes.run(() -> backward(i, gradients[0], results)));
      SideBySide.run(tasks(small, i -> backward(i, gradients[0], results)));
      zeroUnused(results[2]);
      zeroUnused(results[3]);
      for (int i = 0; i < results.length; i++) {
        results[i] = needsGradient(i) ? results[i] : null;
      }
      return results;
    }

    private static List<Runnable> tasks(List<Integer> indices, IntConsumer body) {
      List<Runnable> tasks = new ArrayList<>();
      indices.forEach(i -> tasks.add(() -> body.accept(i)));
      return tasks;
    }

    private void backward(int index, Tensor gradient, Tensor[] results) {
      Span span = spans.get(index);
      Tensor g = span.stretch(gradient);
      span.own(results[1]).copy_(span.inner(g).mul(span.inner(outer[index])).sum(1));
      // A weight of 0 takes the neighbours' rows out of every sum over rows.
      Tensor masked = torch.zeros(new long[] {span.length}, weight.options());
      span.inner(masked).copy_(span.own(weight));
      Tensor dy = g.mul(masked.unsqueeze(1));
      Tensor du = Gemm.inputGradient(dy, operand2.select(0, span.group));
      if (needsGradient(3)) {
        weightGradient(dy, activated[index], results[3].select(0, span.group));
      }
      if (needsGradient(6)) {
        sum(dy, results[6].select(0, span.group));
      }
      Tensor da = activation.gradient(dropped(du, span), inner[index]);
      if (needsGradient(2)) {
        weightGradient(da, span.stretch(x), results[2].select(0, span.group));
      }
      if (needsGradient(5)) {
        sum(da, results[5].select(0, span.group));
      }
      if (needsGradient(0)) {
        Tensor dx = Gemm.inputGradient(da, operand1.select(0, span.group));
        span.own(results[0]).copy_(span.inner(dx));
      }
    }

    private static void weightGradient(Tensor gradient, Tensor input, Tensor result) {
      result.copy_(Gemm.weightGradients(gradient, input, result, false).get(0));
    }

    /** The sum of the rows, in fp32: a bias's gradient. */
    private static void sum(Tensor gradient, Tensor result) {
      result.copy_(gradient.to(ScalarType.Float).sum(0));
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
