package moe4j.kernels.experts;

import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The k largest of each row, the largest first. Of equals the lowest index comes first, on every
 * device: libtorch's own {@code topk} chooses any of them. As there, a NaN is larger than all
 * numbers, and -0 equals 0.
 *
 * @param values [T, k]; their gradient goes to where they come from
 * @param indices int64 [T, k], in [0, E)
 */
public record TopK(Tensor values, Tensor indices) {
  /** The longest row that a warp holds. */
  private static final long MOST_COLUMNS = 512;

  /** Below every number in fp32, and above what is given to those already chosen. */
  private static final Scalar LOWEST = Scopes.keep(() -> new Scalar(-1e300));

  private static final Scalar CHOSEN = Scopes.keep(() -> new Scalar(Double.NEGATIVE_INFINITY));

  /**
   * Finds the k largest of each row.
   *
   * @param x fp32 [T, E]
   * @param k how many, from 1 to E
   * @throws IllegalArgumentException where x has other dimensions or is of another type, or k is
   *     not in [1, E]
   */
  public static TopK of(Tensor x, int k) {
    if (x.dim() != 2 || Tensors.dtype(x) != ScalarType.Float || k < 1 || k > x.size(1)) {
      throw new IllegalArgumentException(
          "The %d largest of each row are taken of fp32 [T, E] with E at least as large, not of %s in %s."
              .formatted(k, Tensors.shape(x), Tensors.dtype(x)));
    }
    if (Kernels.take(x) && x.size(1) <= MOST_COLUMNS) {
      Largest largest = new Largest(k);
      Tensor values = largest.apply(x)[0];
      return new TopK(values, largest.chosen);
    }
    Tensor indices = rounds(x.detach(), k);
    return new TopK(x.gather(1, indices), indices);
  }

  /** The largest, k times: for few choices that is faster than libtorch's {@code topk}, too. */
  private static Tensor rounds(Tensor x, int k) {
    // In fp64 there are numbers below -inf in fp32, so that no element is chosen twice.
    Tensor left = x.to(ScalarType.Double).clamp_min(LOWEST);
    Tensor[] chosen = new Tensor[k];
    for (int i = 0; i < k; i++) {
      chosen[i] = left.max(1, true).get1();
      left.scatter_(1, chosen[i], CHOSEN);
    }
    return torch.cat(new TensorVector(chosen), 1);
  }

  /** Only the values are an output: an index has no gradient. */
  private static final class Largest extends CustomFunction {
    private final int k;
    private Tensor chosen;
    private Tensor indices;
    private long[] shape;

    Largest(int k) {
      this.k = k;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      Tensor x = inputs[0].contiguous();
      shape = x.shape();
      Tensor values = Tensors.empty(ScalarType.Float, x.device(), shape[0], k);
      chosen = Tensors.empty(ScalarType.Long, x.device(), shape[0], k);
      indices = save(chosen);
      launch("top", x, values, chosen);
      return new Tensor[] {values};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor dx = Tensors.empty(ScalarType.Float, gradients[0].device(), shape);
      launch("top_gradient", gradients[0], indices, dx);
      return new Tensor[] {dx};
    }

    private void launch(String kernel, Tensor a, Tensor b, Tensor c) {
      int columns = Math.toIntExact(shape[1]);
      CudaKernel.of("experts/topk.cu", kernel, "HELD=" + (columns + 31) / 32)
          .launch(Launch.rowBlocks(shape[0]), Launch.ROW_THREADS, 0, a, b, c, shape[0], columns, k);
    }
  }
}
