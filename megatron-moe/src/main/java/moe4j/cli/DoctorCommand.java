package moe4j.cli;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import moe4j.config.BuildInfo;
import moe4j.config.Flags;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.cuda.Cuda;

/** {@code moe4j doctor}: what this machine has, what is missing and what to install. */
public final class DoctorCommand implements Command {
  @Override
  public String name() {
    return "doctor";
  }

  @Override
  public String summary() {
    return "print device, threads, versions, BLAS and CUDA libraries, and what is missing";
  }

  @Override
  public Flags flags() {
    return Flags.of(NoFlags.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    PrintStream out = System.out;
    Map<String, Object> facts = new LinkedHashMap<>();
    facts.put("moe4j", BuildInfo.describe());
    facts.put("Java", Runtime.version() + ", " + System.getProperty("java.vm.name"));
    facts.put(
        "system",
        System.getProperty("os.name")
            + " "
            + System.getProperty("os.version")
            + " "
            + System.getProperty("os.arch"));
    facts.put("processor", processor());
    facts.put("cores", Runtime.getRuntime().availableProcessors());
    facts.put("heap limit", Runtime.getRuntime().maxMemory() / (1 << 20) + " MiB");
    libtorch(facts);
    facts.forEach((name, value) -> out.printf("%-22s %s%n", name + ":", value));
    String core = System.getenv("OPENBLAS_CORETYPE");
    if (core == null) {
      out.println(
          "note: OPENBLAS_CORETYPE is not set, OpenBLAS chose the core type by itself; ./moe4j sets"
              + " it where the processor has AVX-512");
    }
    CudaLibraries.ofThisMachine().report(out);
    return 0;
  }

  /** What libtorch says, or why it cannot: what is missing for it is told below. */
  private static void libtorch(Map<String, Object> facts) {
    try {
      facts.putAll(NativeLibraries.describe());
      if (Cuda.isAvailable()) {
        facts.put("GPU", Cuda.name());
        facts.put("compute capability", Cuda.computeCapability());
        facts.put(
            "GPU memory", String.format(Locale.ROOT, "%.1f GiB", Cuda.totalMemory() / 0x1p30));
        facts.put("multiprocessors", Cuda.multiprocessors());
      } else {
        facts.put("GPU", "none. " + Cuda.unavailableReason());
      }
    } catch (LinkageError e) {
      facts.put("libtorch", "cannot be loaded: " + e.getMessage());
    }
    driver().ifPresent(version -> facts.put("NVIDIA driver", version));
  }

  /** The version of the kernel module, where it is loaded and says so. */
  private static Optional<String> driver() {
    try {
      return Files.readAllLines(Path.of("/proc/driver/nvidia/version")).stream()
          .findFirst()
          .map(line -> line.replaceFirst("^NVRM version:\\s*", "").replaceAll("\\s+", " "));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  private static String processor() throws IOException {
    Path info = Path.of("/proc/cpuinfo");
    if (!Files.isReadable(info)) {
      return System.getProperty("os.arch");
    }
    List<String> lines = Files.readAllLines(info);
    String model = value(lines, "model name");
    List<String> flags = Arrays.asList(value(lines, "flags").split(" "));
    List<String> wide = new ArrayList<>();
    for (String flag : List.of("avx2", "avx512f", "avx512_bf16", "amx_bf16")) {
      if (flags.contains(flag)) {
        wide.add(flag);
      }
    }
    return model + (wide.isEmpty() ? "" : " (" + String.join(", ", wide) + ")");
  }

  private static String value(List<String> lines, String key) {
    return lines.stream()
        .filter(line -> line.startsWith(key))
        .map(line -> line.substring(line.indexOf(':') + 1).trim())
        .findFirst()
        .orElse("unknown");
  }
}
