package moe4j.kernels.product;

import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What a large square matrix product reaches on a CPU, or on a GPU whose data sheet is not known.
 * It is taken through {@link Gemm}, as a model's products are: libtorch's own {@code mm} may end in
 * another library and on other threads.
 */
public final class MatmulPeak {
  /** Rows and columns of the matrices. */
  public static final int SIZE = 1024;

  /** Rows and columns of the matrices on a GPU, which needs larger ones. */
  public static final int GPU_SIZE = 8192;

  private static final int REPEATS = 5;

  private MatmulPeak() {}

  /** The best of a few products, in FLOP/s; takes some tens of milliseconds. */
  public static double measure(ScalarType dtype, Device device) {
    return measure(dtype, device, SIZE);
  }

  /** The same of matrices of so many rows and columns; the device is waited for. */
  public static double measure(ScalarType dtype, Device device, int size) {
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      Tensor a = Tensors.full(0.5, dtype, device, size, size);
      Tensor b = Tensors.full(0.25, dtype, device, size, size);
      double best = 0;
      for (int i = 0; i < REPEATS; i++) {
        long begin = System.nanoTime();
        Tensors.item(product(a, b).select(0, 0).select(0, 0));
        best = Math.max(best, 2e9 * size * size * size / (System.nanoTime() - begin));
      }
      return best;
    }
  }

  /** The product that is timed. */
  static Tensor product(Tensor x, Tensor weight) {
    return Gemm.linear(x, weight, null);
  }
}
