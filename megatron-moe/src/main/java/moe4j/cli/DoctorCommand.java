package moe4j.cli;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import moe4j.config.BuildInfo;
import moe4j.config.Flags;
import moe4j.kernels.NativeLibraries;

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
    facts.putAll(NativeLibraries.describe());
    facts.forEach((name, value) -> out.printf("%-22s %s%n", name + ":", value));
    String core = System.getenv("OPENBLAS_CORETYPE");
    if (core == null) {
      out.println(
          "note: OPENBLAS_CORETYPE is not set, OpenBLAS chose the core type by itself; ./moe4j sets"
              + " it where the processor has AVX-512");
    }
    cuda(out);
    return 0;
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

  /** CUDA's libraries come with the machine; these are what the natives for it need. */
  private static void cuda(PrintStream out) throws IOException {
    List<String> missing = new ArrayList<>();
    for (String library : NativeLibraries.CUDA) {
      List<Path> found = find(library);
      out.printf(
          "%-22s %s%n", library + ":", found.isEmpty() ? "not found" : found.get(0).toString());
      if (found.isEmpty()) {
        missing.add(library);
      }
    }
    if (missing.size() == NativeLibraries.CUDA.size()) {
      out.println("CUDA: no libraries; models are computed on the CPU");
    } else if (!missing.isEmpty()) {
      out.println(
          "CUDA: "
              + String.join(", ", missing)
              + " missing: install CUDA 13 with cuDNN 9 and NCCL (on Debian and Ubuntu the packages"
              + " cuda-toolkit-13-1, cudnn9-cuda-13 and libnccl2)");
    } else {
      out.println("CUDA: all libraries found; build with -Pgpu to use them");
    }
  }

  private static List<Path> find(String library) throws IOException {
    List<String> places = new ArrayList<>();
    String path = System.getenv("LD_LIBRARY_PATH");
    if (path != null) {
      places.addAll(Arrays.asList(path.split(":")));
    }
    places.addAll(
        List.of(
            "/usr/local/cuda/lib64",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64",
            "/usr/lib/wsl/lib",
            "/usr/local/nvidia/lib64"));
    List<Path> found = new ArrayList<>();
    for (String place : places) {
      Path directory = Path.of(place);
      if (place.isEmpty() || !Files.isDirectory(directory)) {
        continue;
      }
      try (Stream<Path> files = Files.list(directory)) {
        files
            .filter(file -> file.getFileName().toString().startsWith(library + ".so"))
            .sorted()
            .forEach(found::add);
      }
    }
    return found;
  }
}
