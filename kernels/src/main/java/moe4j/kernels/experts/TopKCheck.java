package moe4j.kernels.experts;

import java.util.Comparator;
import java.util.Random;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.check.Leaves;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The k largest, against a sort in Java: exactly, also where values are equal or not numbers. */
public final class TopKCheck implements KernelCheck {
  private static final float[] ODD = {
    Float.NaN,
    Float.POSITIVE_INFINITY,
    Float.NEGATIVE_INFINITY,
    -0f,
    0,
    Float.MAX_VALUE,
    -Float.MAX_VALUE,
    Float.MIN_VALUE,
    -Float.MIN_VALUE,
    1
  };

  @Override
  public String name() {
    return "top k";
  }

  @Override
  public void run(Comparison on) {
    Random random = new Random(on.seed());
    Supplier<Float> normal = () -> (float) random.nextGaussian();
    Supplier<Float> whole = () -> (float) Math.rint(random.nextGaussian());
    Supplier<Float> odd = () -> ODD[random.nextInt(ODD.length)];
    for (int k = 1; k <= 33; k++) {
      run(on, "ties", whole, 5, 33, k);
    }
    for (int[] shape :
        new int[][] {
          {1, 1, 1},
          {9, 1, 1},
          {1, 96, 2},
          {517, 96, 2},
          {31, 96, 96},
          {64, 100, 8},
          {33, 512, 1},
          {7, 512, 40},
          {3, 512, 512},
          {5, 600, 3},
          {0, 96, 2}
        }) {
      run(on, "normal", normal, shape);
      run(on, "ties", whole, shape);
      run(on, "odd", odd, shape);
    }
  }

  /** Checks a shape, which is T, E and k. */
  private static void run(Comparison on, String kind, Supplier<Float> numbers, int... shape) {
    Scopes.run(() -> check(on, kind, numbers, shape[0], shape[1], shape[2]));
  }

  private static void check(
      Comparison on, String kind, Supplier<Float> numbers, int tokens, int columns, int k) {
    float[] given = new float[tokens * columns];
    long[] indices = new long[tokens * k];
    float[] values = new float[indices.length];
    float[] upstream = new float[indices.length];
    float[] gradient = new float[given.length];
    for (int i = 0; i < given.length; i++) {
      given[i] = numbers.get();
    }
    // Java counts a NaN as the largest, too, but -0 as less than 0. A stream's sort is stable.
    Comparator<Integer> largest =
        Comparator.comparing((Integer i) -> given[i] == 0 ? 0f : given[i]).reversed();
    for (int t = 0; t < tokens; t++) {
      int first = t * columns;
      int[] order =
          IntStream.range(first, first + columns)
              .boxed()
              .sorted(largest)
              .mapToInt(i -> i)
              .toArray();
      for (int j = 0; j < k; j++) {
        int at = t * k + j;
        indices[at] = order[j] % columns;
        values[at] = given[order[j]];
        upstream[at] = at % 251 - 100.5f;
        gradient[order[j]] = upstream[at];
      }
    }
    Leaves leaves = Leaves.on(on, ScalarType.Float, Tensors.of(given, tokens, columns));
    Tensor[] found =
        leaves.backward(
            new Tensor[] {Tensors.of(upstream, tokens, k), null},
            t -> {
              TopK top = TopK.of(t[0], k);
              return new Tensor[] {top.values(), top.indices()};
            });
    String what = "top k %s T=%d E=%d k=%d: ".formatted(kind, tokens, columns, k);
    on.same(what + "indices", found[1], Tensors.of(indices, tokens, k));
    // By their bits, as a NaN equals nothing.
    on.same(
        what + "values",
        found[0].detach().view(ScalarType.Int),
        Tensors.of(values, tokens, k).view(ScalarType.Int));
    on.same(what + "gradient", leaves.gradient(0), Tensors.of(gradient, tokens, columns));
  }
}
