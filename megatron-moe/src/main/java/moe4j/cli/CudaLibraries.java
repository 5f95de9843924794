package moe4j.cli;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import moe4j.kernels.NativeLibraries;

/**
 * CUDA's libraries come with the machine: where those that the natives for it need lie here, and
 * what to install where they do not.
 */
final class CudaLibraries {
  /** The one that NVIDIA's driver brings and no package of CUDA does. */
  private static final String DRIVER = "libcuda";

  /** The versions that libtorch's natives ask the loader for: those of CUDA 13. */
  private static final Map<String, String> VERSIONS =
      Map.ofEntries(
          Map.entry(DRIVER, "1"),
          Map.entry("libcudart", "13"),
          Map.entry("libcublas", "13"),
          Map.entry("libcublasLt", "13"),
          Map.entry("libcudnn", "9"),
          Map.entry("libcufft", "12"),
          Map.entry("libcufile", "0"),
          Map.entry("libcurand", "10"),
          Map.entry("libcusolver", "12"),
          Map.entry("libcusparse", "12"),
          Map.entry("libcupti", "13"),
          Map.entry("libnccl", "2"),
          Map.entry("libnvrtc", "13"));

  private final List<Path> searched;
  private final List<Path> elsewhere;

  /**
   * @param searched files that the loader finds by itself, the first found first
   * @param elsewhere files in customary directories that it does not search
   */
  CudaLibraries(List<Path> searched, List<Path> elsewhere) {
    this.searched = searched;
    this.elsewhere = elsewhere;
  }

  /** The file that the loader looks for, such as {@code libcudart.so.13}. */
  static String fileName(String library) {
    return library + ".so." + VERSIONS.get(library);
  }

  /** What the loader's path, its cache and the customary directories of this machine hold. */
  static CudaLibraries ofThisMachine() throws IOException {
    List<Path> files = new ArrayList<>();
    String path = System.getenv("LD_LIBRARY_PATH");
    if (path != null) {
      for (String place : path.split(File.pathSeparator)) {
        addFiles(place.isEmpty() ? null : Path.of(place), files);
      }
    }
    files.addAll(cached(ldconfig()));
    for (String place : List.of("/usr/lib/x86_64-linux-gnu", "/usr/lib64")) {
      addFiles(Path.of(place), files);
    }
    List<Path> others = new ArrayList<>();
    for (Path cuda : list(Path.of("/usr/local"), "cuda*")) {
      addFiles(cuda.resolve("lib64"), others);
      addFiles(cuda.resolve("extras/CUPTI/lib64"), others);
    }
    for (String place : List.of("/usr/lib/wsl/lib", "/usr/local/nvidia/lib64")) {
      addFiles(Path.of(place), others);
    }
    for (Path packages : pythonPackages()) {
      for (Path part : list(packages.resolve("nvidia"), "*")) {
        addFiles(part.resolve("lib"), others);
      }
    }
    return new CudaLibraries(files, others);
  }

  /** Where Python's packages lie; PyTorch's wheels bring CUDA's libraries along. */
  private static List<Path> pythonPackages() throws IOException {
    List<Path> roots = new ArrayList<>();
    for (String variable : List.of("VIRTUAL_ENV", "CONDA_PREFIX")) {
      if (System.getenv(variable) != null) {
        roots.add(Path.of(System.getenv(variable)));
      }
    }
    roots.addAll(
        List.of(
            Path.of(System.getProperty("user.home"), ".local"),
            Path.of("/usr/local"),
            Path.of("/usr"),
            Path.of("/opt/conda")));
    List<Path> found = new ArrayList<>();
    for (Path root : roots) {
      for (Path python : list(root.resolve("lib"), "python3*")) {
        found.add(python.resolve("site-packages"));
        found.add(python.resolve("dist-packages"));
      }
    }
    return found;
  }

  private static void addFiles(Path directory, List<Path> files) throws IOException {
    if (directory != null) {
      files.addAll(list(directory, "lib*.so*"));
    }
  }

  /** What matches in a directory, by name; nothing where no such directory can be read. */
  private static List<Path> list(Path directory, String pattern) throws IOException {
    List<Path> found = new ArrayList<>();
    if (!Files.isDirectory(directory) || !Files.isReadable(directory)) {
      return found;
    }
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(directory, pattern)) {
      entries.forEach(found::add);
    }
    found.sort(Comparator.naturalOrder());
    return found;
  }

  /** The lines of {@code ldconfig -p}; none where there is no such program. */
  private static List<String> ldconfig() {
    try {
      // /sbin is not on everyone's path.
      String program =
          Files.isExecutable(Path.of("/sbin/ldconfig")) ? "/sbin/ldconfig" : "ldconfig";
      Process process =
          new ProcessBuilder(program, "-p").redirectError(ProcessBuilder.Redirect.DISCARD).start();
      try (BufferedReader lines =
          new BufferedReader(
              new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
        return lines.lines().toList();
      }
    } catch (IOException e) {
      return List.of();
    }
  }

  /** The files of lines such as {@code libcuda.so.1 (libc6,x86-64) => /usr/lib/libcuda.so.1}. */
  static List<Path> cached(List<String> lines) {
    return lines.stream()
        .filter(line -> line.contains(" => ") && !line.contains("(libc6)"))
        .map(line -> Path.of(line.substring(line.indexOf(" => ") + 4).trim()))
        .toList();
  }

  /** Where a library lies, by its name without {@code .so}. */
  Optional<Path> find(String library) {
    return find(library, searched).or(() -> find(library, elsewhere));
  }

  private static Optional<Path> find(String library, List<Path> files) {
    String name = fileName(library);
    return files.stream()
        .filter(
            file -> {
              String other = file.getFileName().toString();
              return other.equals(name) || other.startsWith(name + ".");
            })
        .findFirst();
  }

  /** The directories of those that the loader does not find by itself, in their order. */
  private List<String> unsearched() {
    return NativeLibraries.CUDA.stream()
        .filter(library -> find(library, searched).isEmpty())
        .flatMap(library -> find(library, elsewhere).stream())
        .map(file -> file.getParent().toString())
        .distinct()
        .toList();
  }

  /** Says where each is, and what to do about those that are not found or nowhere. */
  void report(PrintStream out) {
    List<String> missing = new ArrayList<>();
    for (String library : NativeLibraries.CUDA) {
      Optional<Path> found = find(library);
      out.printf(
          "%-22s %s%n",
          library + ":", found.map(Path::toString).orElse(fileName(library) + " not found"));
      if (found.isEmpty()) {
        missing.add(library);
      }
    }
    List<String> directories = unsearched();
    if (!directories.isEmpty()) {
      out.println("CUDA: the loader does not search all of these directories by itself:");
      out.println(
          "  export LD_LIBRARY_PATH="
              + String.join(":", directories)
              + "${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}");
    }
    if (missing.isEmpty()) {
      out.println("CUDA: all libraries found; natives built with -Pgpu use them");
      return;
    }
    out.println(
        missing.size() == NativeLibraries.CUDA.size()
            ? "CUDA: no libraries; models are computed on the CPU"
            : "CUDA: " + String.join(", ", missing) + " missing");
    if (missing.remove(DRIVER)) {
      out.println(
          "for an NVIDIA GPU: install NVIDIA's driver, 580 or newer for CUDA 13; libcuda comes with it"
              + " and not with CUDA's packages");
    }
    if (!missing.isEmpty()) {
      out.println(
          "for an NVIDIA GPU: install CUDA 13 with cuDNN 9 and NCCL (on Debian and Ubuntu NVIDIA's"
              + " packages cuda-toolkit-13-1, cudnn9-cuda-13 and libnccl2)");
    }
  }
}
