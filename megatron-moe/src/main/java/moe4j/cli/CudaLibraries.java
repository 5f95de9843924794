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
import java.util.Optional;
import moe4j.kernels.NativeLibraries;

/**
 * CUDA's libraries come with the machine: where those that the natives for it need lie here, and
 * what to install where they do not.
 */
final class CudaLibraries {
  /** The one that NVIDIA's driver brings and no package of CUDA does. */
  private static final String DRIVER = "libcuda";

  private final List<Path> files;

  /**
   * @param files what there is, the first found first
   */
  CudaLibraries(List<Path> files) {
    this.files = files;
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
    for (Path cuda : versions(Path.of("/usr/local"))) {
      addFiles(cuda.resolve("lib64"), files);
      addFiles(cuda.resolve("extras/CUPTI/lib64"), files);
    }
    for (String place :
        List.of(
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64",
            "/usr/lib/wsl/lib",
            "/usr/local/nvidia/lib64")) {
      addFiles(Path.of(place), files);
    }
    return new CudaLibraries(files);
  }

  private static void addFiles(Path directory, List<Path> files) throws IOException {
    if (directory != null && Files.isDirectory(directory) && Files.isReadable(directory)) {
      files.addAll(list(directory, "lib*.so*"));
    }
  }

  /** {@code cuda} first, then {@code cuda-13.1} and other versions. */
  private static List<Path> versions(Path parent) throws IOException {
    return Files.isDirectory(parent) ? list(parent, "cuda*") : List.of();
  }

  private static List<Path> list(Path directory, String pattern) throws IOException {
    List<Path> found = new ArrayList<>();
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
    return files.stream()
        .filter(file -> file.getFileName().toString().startsWith(library + ".so"))
        .findFirst();
  }

  /** Says where each is, and what to install for those that are nowhere. */
  void report(PrintStream out) {
    List<String> missing = new ArrayList<>();
    for (String library : NativeLibraries.CUDA) {
      Optional<Path> found = find(library);
      out.printf("%-22s %s%n", library + ":", found.map(Path::toString).orElse("not found"));
      if (found.isEmpty()) {
        missing.add(library);
      }
    }
    if (missing.isEmpty()) {
      out.println("CUDA: all libraries found; build with -Pgpu to use them");
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
