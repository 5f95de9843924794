package moe4j.kernels.cuda;

import moe4j.tensor.Scopes;
import org.bytedeco.cuda.cudart.CUlaunchAttribute;
import org.bytedeco.cuda.cudart.CUlaunchConfig;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;

/**
 * A thread's memory for how a kernel is launched, which libcuda reads while it launches. On Hopper
 * a kernel's blocks may be sent before the kernel ahead of it in the stream has ended (programmatic
 * stream serialization, in the CUDA driver's words): every kernel of ours waits for that itself, by
 * {@code follow()} of {@code common.cuh}. {@code -Dmoe4j.kernel.follow=false} launches them one
 * after the other.
 */
final class LaunchConfig {
  private static final boolean WANTED =
      Boolean.parseBoolean(System.getProperty("moe4j.kernel.follow", "true"));

  private final CUlaunchAttribute attribute = Scopes.keep(() -> new CUlaunchAttribute(1));
  private final CUlaunchConfig config = Scopes.keep(() -> new CUlaunchConfig(1));

  LaunchConfig() {
    attribute.id(cudart.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
    attribute.value().programmaticStreamSerializationAllowed(1);
    config.gridDimY(1).gridDimZ(1).blockDimY(1).blockDimZ(1);
    config.attrs(attribute).numAttrs(WANTED && Cuda.isHopper() ? 1 : 0);
  }

  /** Fills it in; what it returns is valid until the thread's next call. */
  CUlaunchConfig of(long blocks, int threads, int sharedBytes, CUstream_st stream) {
    return config
        .gridDimX((int) blocks)
        .blockDimX(threads)
        .sharedMemBytes(sharedBytes)
        .hStream(stream);
  }
}
