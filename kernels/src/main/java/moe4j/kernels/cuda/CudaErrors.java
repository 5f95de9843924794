package moe4j.kernels.cuda;

import java.util.function.Supplier;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerPointer;
import org.bytedeco.javacpp.PointerScope;

/** CUDA's return codes as exceptions. */
final class CudaErrors {
  private CudaErrors() {}

  /**
   * Checks a code of the driver (cu...).
   *
   * @param what completes "CUDA could not"
   */
  static void driver(int status, Supplier<String> what) {
    if (status != cudart.CUDA_SUCCESS) {
      throw new IllegalStateException(sentence(what.get(), driverName(status)));
    }
  }

  /**
   * Checks a code of the runtime (cuda...), and clears it, so that the next call does not report it
   * again.
   *
   * @param what completes "CUDA could not"
   */
  static void runtime(int status, String what) {
    if (status != cudart.cudaSuccess) {
      cudart.cudaGetLastError();
      throw new IllegalStateException(sentence(what, runtimeName(status)));
    }
  }

  static String runtimeName(int status) {
    return cudart.cudaGetErrorName(status).getString()
        + " ("
        + cudart.cudaGetErrorString(status).getString()
        + ")";
  }

  private static String driverName(int status) {
    try (PointerScope scope = new PointerScope()) {
      PointerPointer<BytePointer> name = new PointerPointer<>(1);
      PointerPointer<BytePointer> text = new PointerPointer<>(1);
      if (cudart.cuGetErrorName(status, name) != cudart.CUDA_SUCCESS
          || cudart.cuGetErrorString(status, text) != cudart.CUDA_SUCCESS) {
        return "error " + status;
      }
      return name.getString(0) + " (" + text.getString(0) + ")";
    }
  }

  private static String sentence(String what, String error) {
    return "CUDA could not " + what + ": " + error + ".";
  }
}
