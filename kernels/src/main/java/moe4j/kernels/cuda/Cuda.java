package moe4j.kernels.cuda;

import moe4j.kernels.Scopes;
import org.bytedeco.pytorch.global.torch_cuda;

/** The GPU at hand. */
public final class Cuda {
  private static int multiprocessors;

  private Cuda() {}

  /** The GPU's multiprocessors. */
  public static synchronized int multiprocessors() {
    if (multiprocessors == 0) {
      Scopes.run(
          () -> multiprocessors = torch_cuda.getCurrentDeviceProperties().multiProcessorCount());
    }
    return multiprocessors;
  }
}
