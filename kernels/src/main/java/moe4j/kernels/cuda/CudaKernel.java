package moe4j.kernels.cuda;

import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.cuda.cudart.CUfunc_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;

/**
 * A kernel of ours, written in CUDA C++ and compiled by NVRTC for the GPU at hand when it is first
 * launched. Safe to share between threads.
 */
public final class CudaKernel {
  private static final ConcurrentHashMap<Key, CudaKernel> KERNELS = new ConcurrentHashMap<>();
  private static final ThreadLocal<KernelArguments> ARGUMENTS =
      ThreadLocal.withInitial(
          () -> {
            CudaModule.makeContextCurrent();
            return new KernelArguments();
          });

  private final Key key;
  private volatile Loaded loaded;
  private volatile int sharedLimit;

  /** What the driver knows of the kernel. */
  private record Loaded(CUfunc_st function, KernelParameters parameters) {}

  private record Key(String source, String function, List<String> defines) {}

  private CudaKernel(Key key) {
    this.key = key;
  }

  /**
   * Names a kernel; nothing is compiled yet. The same names give the same object.
   *
   * @param source the topic and the file beside its Java, such as {@code norm/norm.cu}
   * @param function its {@code extern "C"} name
   * @param defines such as {@code TYPE=bf16} or {@code WIDTH=8}: a source is compiled for each
   *     combination. A macro named {@code T} would break the templates of NVRTC's own header.
   */
  public static CudaKernel of(String source, String function, String... defines) {
    return KERNELS.computeIfAbsent(new Key(source, function, List.of(defines)), CudaKernel::new);
  }

  /** Compiles and loads now what the first launch would. */
  public void load() {
    loaded();
  }

  /**
   * Launches on libtorch's current stream.
   *
   * @param blocks of the one-dimensional grid; 0 launches nothing
   * @param threads a block
   * @param sharedBytes dynamic shared memory; the kernel's limit is raised to it
   * @param arguments in the function's order and of its parameters' sizes: a contiguous CUDA tensor
   *     (its address; null is 0), a {@link TensorMap} (its 128 bytes), Long, Integer, Float
   * @throws IllegalArgumentException naming kernel and argument, where one is neither, or is not of
   *     its parameter's size, or where there are not as many as parameters
   * @throws IllegalStateException where the source does not compile, or CUDA refuses
   */
  public void launch(long blocks, int threads, int sharedBytes, Object... arguments) {
    if (blocks < 0 || blocks > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(this + " cannot be launched with " + blocks + " blocks.");
    }
    if (blocks == 0) {
      return;
    }
    Loaded code = loaded();
    PointerPointer<Pointer> packed = ARGUMENTS.get().pack(this, arguments);
    code.parameters.check(arguments);
    if (sharedBytes > sharedLimit) {
      raiseSharedLimit(code.function, sharedBytes);
    }
    CUstream_st stream = CudaStream.current();
    int status =
        cudart.cuLaunchKernel(
            code.function,
            (int) blocks,
            1,
            1,
            threads,
            1,
            1,
            sharedBytes,
            stream,
            packed,
            (PointerPointer<?>) null);
    CudaErrors.driver(
        status,
        () ->
            "launch "
                + this
                + " with "
                + blocks
                + " blocks of "
                + threads
                + " threads and "
                + sharedBytes
                + " bytes of shared memory");
  }

  private Loaded loaded() {
    Loaded known = loaded;
    if (known == null) {
      // Two threads may look it up at once; they find the same.
      CudaModule module = CudaModule.of(key.source, key.defines);
      CUfunc_st function = module.function(key.function);
      known = new Loaded(function, module.parameters(toString(), function));
      loaded = known;
    }
    return known;
  }

  /**
   * A kernel's static shared memory counts against the first 48 KiB, so every size is announced.
   */
  private synchronized void raiseSharedLimit(CUfunc_st code, int sharedBytes) {
    if (sharedBytes > sharedLimit) {
      CudaErrors.driver(
          cudart.cuFuncSetAttribute(
              code, cudart.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, sharedBytes),
          () -> "give " + this + " " + sharedBytes + " bytes of shared memory");
      sharedLimit = sharedBytes;
    }
  }

  @Override
  public String toString() {
    return "the kernel "
        + key.function
        + " of "
        + key.source
        + (key.defines.isEmpty() ? "" : " " + key.defines);
  }
}
