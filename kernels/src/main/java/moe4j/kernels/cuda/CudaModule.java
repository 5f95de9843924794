package moe4j.kernels.cuda;

import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;
import org.bytedeco.cuda.cudart.CUctx_st;
import org.bytedeco.cuda.cudart.CUfunc_st;
import org.bytedeco.cuda.cudart.CUmod_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * A source compiled with its defines, on the GPU: loaded once, kept for the life of the process. A
 * process uses one GPU.
 */
final class CudaModule {
  private static final ConcurrentHashMap<Key, CudaModule> LOADED = new ConcurrentHashMap<>();

  private final Key key;
  private final CUmod_st module;

  private record Key(String source, List<String> defines) {
    @Override
    public String toString() {
      return defines.isEmpty() ? source : source + " " + defines;
    }
  }

  private CudaModule(Key key, CUmod_st module) {
    this.key = key;
    this.module = module;
  }

  /** Compiles, or takes from the cache, and loads, at the first call. */
  static CudaModule of(String source, List<String> defines) {
    return LOADED.computeIfAbsent(new Key(source, defines), CudaModule::load);
  }

  /**
   * Finds a function.
   *
   * @param name its {@code extern "C"} name
   */
  CUfunc_st function(String name) {
    CUfunc_st function = new CUfunc_st();
    CudaErrors.driver(
        cudart.cuModuleGetFunction(function, module, name),
        () -> "find the kernel " + name + " in " + key);
    return function;
  }

  /**
   * A function's parameters. The driver may load the function only when it is asked for them.
   *
   * @param kernel what a refused launch calls it
   */
  KernelParameters parameters(String kernel, CUfunc_st function) {
    return loading(() -> KernelParameters.of(kernel, function));
  }

  private static CudaModule load(Key key) {
    KernelSource source = KernelSource.read(key.source);
    String architecture = Cuda.architecture();
    byte[] code =
        KernelCache.ofUser()
            .get(
                KernelCache.key(source, key.defines, architecture, Nvrtc.version()),
                () ->
                    Nvrtc.compile(
                        source.name(), source.text(), source.headers(), key.defines, architecture));
    makeContextCurrent();
    CUmod_st module = new CUmod_st();
    loading(
        () -> {
          try (BytePointer image = new BytePointer(code)) {
            CudaErrors.driver(
                cudart.cuModuleLoadData(module, image), () -> "load the kernels in " + key);
          }
          return module;
        });
    return new CudaModule(key, module);
  }

  /** Loading allocates, which a capture that is under way on this thread would otherwise refuse. */
  private static <T> T loading(Supplier<T> work) {
    int[] mode = {cudart.cudaStreamCaptureModeRelaxed};
    exchangeCaptureMode(mode);
    try {
      return work.get();
    } finally {
      exchangeCaptureMode(mode);
    }
  }

  private static void exchangeCaptureMode(int[] mode) {
    CudaErrors.runtime(
        cudart.cudaThreadExchangeStreamCaptureMode(mode), "change the thread's capture mode");
  }

  /**
   * The driver's calls need a context that is current on their thread: libtorch's, which is the
   * device's primary one. Where it is current already, this costs one call.
   */
  static void makeContextCurrent() {
    try (PointerScope scope = new PointerScope()) {
      CUctx_st context = new CUctx_st();
      int status = cudart.cuCtxGetCurrent(context);
      if (status != cudart.CUDA_SUCCESS || context.isNull()) {
        CudaErrors.runtime(
            cudart.cudaSetDevice(torch_cuda.current_device()), "make the GPU's context current");
      }
    }
  }
}
