package moe4j.kernels.cuda;

import org.bytedeco.cuda.cudart.cudaDeviceProp;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.cuda.CUDAAllocator;
import org.bytedeco.pytorch.cuda.DeviceStats;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * The GPU at hand: libtorch's current device. Only {@link #isAvailable} and {@link
 * #unavailableReason} may be asked on a machine without a GPU.
 */
public final class Cuda {
  /** Asked once: a process keeps its GPU. */
  private static volatile Properties properties;

  private Cuda() {}

  private record Properties(
      String name, int major, int minor, int multiprocessors, long totalMemory, long blockMemory) {}

  /**
   * libtorch's memory on the GPU, in bytes, of ordinary allocations and of graphs together. Peaks
   * are since the process began or {@link Cuda#resetPeaks}.
   *
   * @param allocated held by tensors
   * @param reserved taken from the GPU, including what waits for the next tensor
   */
  public record Memory(long allocated, long maxAllocated, long reserved, long maxReserved) {}

  /** Whether there is a GPU that libtorch can use. Loads nothing of CUDA where there is not. */
  public static boolean isAvailable() {
    try {
      return torch.cuda_is_available();
    } catch (LinkageError e) {
      return false;
    }
  }

  /**
   * Why there is no GPU, in one sentence for users; null where there is one.
   *
   * @see #isAvailable
   */
  public static String unavailableReason() {
    if (isAvailable()) {
      return null;
    }
    if (!nativesAreBuiltIn()) {
      return "This build computes on the CPU alone: build with -Pgpu (MOE4J_MAVEN_FLAGS=-Pgpu for"
          + " ./moe4j) for a GPU.";
    }
    try {
      int[] count = new int[1];
      int status = cudart.cudaGetDeviceCount(count);
      if (status == cudart.cudaSuccess && count[0] > 0) {
        return "libtorch does not take the GPU that CUDA finds.";
      }
      return status == cudart.cudaSuccess || status == cudart.cudaErrorNoDevice
          ? "CUDA finds no GPU: this machine has none, or CUDA_VISIBLE_DEVICES hides it."
          : "CUDA does not start: " + CudaErrors.runtimeName(status) + ".";
    } catch (LinkageError e) {
      return "NVIDIA's driver or a library of CUDA is missing: moe4j doctor names it.";
    }
  }

  /** Whether libtorch's natives for NVIDIA GPUs are on the classpath. */
  private static boolean nativesAreBuiltIn() {
    String natives = "/org/bytedeco/pytorch/" + Loader.getPlatform() + "-gpu/";
    return Cuda.class.getResource(natives + System.mapLibraryName("jnitorch_cuda")) != null;
  }

  /** How many GPUs there are. */
  public static int count() {
    return torch_cuda.device_count();
  }

  /** Makes one of several GPUs the current one. It has to be called before anything is computed. */
  public static void use(int number) {
    torch_cuda.set_device((byte) number);
    properties = null;
  }

  /** The GPU's name, such as {@code NVIDIA H100 80GB HBM3}. */
  public static String name() {
    return properties().name;
  }

  /** The GPU's compute capability, such as {@code 9.0}. */
  public static String computeCapability() {
    return properties().major + "." + properties().minor;
  }

  /** Whether this is a Hopper, the only GPU that runs kernels written for its tensor cores. */
  public static boolean isHopper() {
    return properties().major == 9 && properties().minor == 0;
  }

  /** Whether the GPU copies boxes of tensors by itself, as a {@link TensorMap} says. */
  public static boolean takesTensorMaps() {
    return properties().major >= 9;
  }

  /** The architecture that kernels are compiled for, such as {@code sm_90a}. */
  static String architecture() {
    return architecture(properties().major, properties().minor);
  }

  /** Only the architectures with an a have Hopper's and Blackwell's own instructions. */
  static String architecture(int major, int minor) {
    boolean own = (major == 9 || major == 10) && minor == 0;
    return "sm_" + major + minor + (own ? "a" : "");
  }

  /** The GPU's multiprocessors. */
  public static int multiprocessors() {
    return properties().multiprocessors;
  }

  /** The GPU's memory, in bytes. */
  public static long totalMemory() {
    return properties().totalMemory;
  }

  /** The shared memory that a block of threads may have, in bytes. */
  public static long blockMemory() {
    return properties().blockMemory;
  }

  /** Waits until all that was enqueued on the GPU is done; errors of that work are thrown here. */
  public static void synchronize() {
    torch_cuda.device_synchronize();
  }

  /**
   * Gives the GPU back what libtorch keeps for the next tensors. It must not be called under
   * capture.
   */
  public static void emptyCache() {
    withAllocator(
        allocator -> {
          allocator.emptyCache();
          return null;
        });
  }

  /** What libtorch holds of the GPU's memory; all 0 before the first tensor. */
  public static Memory memory() {
    Memory memory =
        withAllocator(
            allocator -> {
              // Each pointer is at the first figure of its array, which counts all pools together.
              DeviceStats stats = allocator.getDeviceStats(device());
              return new Memory(
                  stats.allocated_bytes().current(),
                  stats.allocated_bytes().peak(),
                  stats.reserved_bytes().current(),
                  stats.reserved_bytes().peak());
            });
    return memory == null ? new Memory(0, 0, 0, 0) : memory;
  }

  /** Lets the peaks of {@link #memory} begin anew from what is held now. */
  public static void resetPeaks() {
    withAllocator(
        allocator -> {
          allocator.resetPeakStats(device());
          return null;
        });
  }

  static byte device() {
    return torch_cuda.current_device();
  }

  private interface Question<T> {
    T ask(CUDAAllocator allocator);
  }

  /** Before the first tensor libtorch's allocator knows no device and would throw: null then. */
  private static <T> T withAllocator(Question<T> question) {
    try (PointerScope scope = new PointerScope()) {
      CUDAAllocator allocator = torch_cuda.getAllocator();
      return allocator.initialized() ? question.ask(allocator) : null;
    }
  }

  private static Properties properties() {
    Properties known = properties;
    if (known == null) {
      known = readProperties();
      properties = known;
    }
    return known;
  }

  private static Properties readProperties() {
    try (PointerScope scope = new PointerScope()) {
      cudaDeviceProp device = torch_cuda.getCurrentDeviceProperties();
      return new Properties(
          device.name().getString(),
          device.major(),
          device.minor(),
          device.multiProcessorCount(),
          device.totalGlobalMem(),
          device.sharedMemPerBlockOptin());
    }
  }
}
