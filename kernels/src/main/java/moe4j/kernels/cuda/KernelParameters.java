package moe4j.kernels.cuda;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.cuda.cudart.CUfunc_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.SizeTPointer;

/**
 * The parameters of a kernel that is loaded. A launch hands the driver only the addresses of
 * arguments: in place of one that is missing or shorter than its parameter it would read the memory
 * that happens to follow.
 */
final class KernelParameters {
  private final String kernel;
  private final int[] sizes;

  /**
   * The parameters of a kernel.
   *
   * @param kernel what a refusal calls it
   * @param sizes in bytes, in order
   */
  KernelParameters(String kernel, int... sizes) {
    this.kernel = kernel;
    this.sizes = sizes.clone();
  }

  /** Asks the driver for the parameters of a loaded function. */
  static KernelParameters of(String kernel, CUfunc_st function) {
    List<Integer> sizes = new ArrayList<>();
    try (SizeTPointer offset = new SizeTPointer(1);
        SizeTPointer size = new SizeTPointer(1)) {
      int status = cudart.cuFuncGetParamInfo(function, 0, offset, size);
      while (status == cudart.CUDA_SUCCESS) {
        sizes.add(Math.toIntExact(size.get()));
        status = cudart.cuFuncGetParamInfo(function, sizes.size(), offset, size);
      }
      // This says that there is no parameter of that number.
      if (status != cudart.CUDA_ERROR_INVALID_VALUE) {
        CudaErrors.driver(status, () -> "tell the parameters of " + kernel);
      }
    }
    return new KernelParameters(kernel, sizes.stream().mapToInt(i -> i).toArray());
  }

  /**
   * Refuses arguments that are not as many as the parameters, or of another size. It costs a
   * comparison an argument, so every launch is checked and not a kernel's first alone.
   *
   * @param arguments as of {@link CudaKernel#launch}
   * @throws IllegalArgumentException naming kernel, argument and sizes
   */
  void check(Object... arguments) {
    for (int i = 0; i < Math.min(arguments.length, sizes.length); i++) {
      int size = size(arguments[i]);
      if (size != sizes[i]) {
        throw new IllegalArgumentException(
            "Argument %d of %s has %d bytes (%s), where its parameter has %d."
                .formatted(i + 1, kernel, size, kind(arguments[i]), sizes[i]));
      }
    }
    if (arguments.length < sizes.length) {
      throw new IllegalArgumentException(
          "Argument %d of %s is missing: %d are given for %d parameters, of which this one has %d"
                  .formatted(
                      arguments.length + 1,
                      kernel,
                      arguments.length,
                      sizes.length,
                      sizes[arguments.length])
              + " bytes.");
    }
    if (arguments.length > sizes.length) {
      Object first = arguments[sizes.length];
      throw new IllegalArgumentException(
          "Argument %d of %s, of %d bytes (%s), has no parameter: %d are given for %d."
              .formatted(
                  sizes.length + 1,
                  kernel,
                  size(first),
                  kind(first),
                  arguments.length,
                  sizes.length));
    }
  }

  /** The bytes of a number, of an address or of a map. */
  private static int size(Object argument) {
    if (argument instanceof TensorMap) {
      return TensorMap.BYTES;
    }
    return argument instanceof Integer || argument instanceof Float ? 4 : 8;
  }

  private static String kind(Object argument) {
    return argument == null ? "null" : argument.getClass().getSimpleName();
  }
}
