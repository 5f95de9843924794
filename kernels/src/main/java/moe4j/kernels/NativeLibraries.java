package moe4j.kernels;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import moe4j.kernels.product.Bf16Products;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.openblas.global.openblas_full;
import org.bytedeco.pytorch.global.torch;

/** The native libraries at hand, and how many threads they use. */
public final class NativeLibraries {
  /** What libtorch's natives for NVIDIA GPUs load from the machine. */
  public static final List<String> CUDA =
      List.of(
          "libcuda",
          "libcudart",
          "libcublas",
          "libcublasLt",
          "libcudnn",
          "libcufft",
          "libcufile",
          "libcurand",
          "libcusolver",
          "libcusparse",
          "libcupti",
          "libnccl",
          "libnvrtc");

  private NativeLibraries() {}

  /** Loads libtorch and sets the threads of its kernels. */
  public static void setThreads(int threads) {
    torch.set_num_threads(threads);
  }

  /** What OMP_NUM_THREADS says, where it is a positive number; otherwise one thread a core. */
  public static int defaultThreads() {
    return defaultThreads(
        System.getenv("OMP_NUM_THREADS"), Runtime.getRuntime().availableProcessors());
  }

  /** OpenMP takes a list, too, a number for each level of nesting: the first is ours. */
  static int defaultThreads(String openMp, int cores) {
    String first = openMp == null ? "" : openMp.replaceFirst(",.*", "").trim();
    return first.matches("0*[1-9]\\d{0,5}") ? Integer.parseInt(first) : cores;
  }

  /** Threads of libtorch's kernels. */
  public static int threads() {
    return torch.get_num_threads();
  }

  /** Facts by name, for people. */
  public static Map<String, Object> describe() {
    Map<String, Object> facts = new LinkedHashMap<>();
    facts.put("device", torch.cuda_is_available() ? "cuda" : "cpu");
    facts.put("threads", threads());
    facts.put("PyTorch presets", version("pytorch") + " for " + Loader.getPlatform());
    try (PointerScope scope = new PointerScope()) {
      facts.put("libtorch's vectors", torch.get_cpu_capability().getString());
      facts.put("BLAS", openblas_full.openblas_get_config().getString().trim());
      facts.put("BLAS core type", openblas_full.openblas_get_corename().getString());
    }
    facts.put("BLAS threads", openblas_full.openblas_get_num_threads());
    facts.put("oneDNN", torch.hasMKLDNN() ? "yes" : "no");
    facts.put("bf16 on the CPU", Bf16Products.choice());
    return facts;
  }

  private static String version(String artifact) {
    try {
      return Loader.getVersion("org.bytedeco", artifact);
    } catch (IOException e) {
      throw new UncheckedIOException(
          "The version of the presets of " + artifact + " cannot be read.", e);
    }
  }
}
