package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Every kernel source compiles for every architecture, where nvcc is installed; no GPU is needed. A
 * source names the definitions to try in its first lines, {@code // compile: -DT=bf16 -DH=768}, a
 * line for each combination.
 */
public class NvccTest {
  private static final String COMPILE = "// compile:";
  private static final List<String> ARCHITECTURES = List.of("80", "90a", "100");

  @BeforeClass
  public void findNvcc() throws IOException, InterruptedException {
    try {
      run(List.of("nvcc", "--version"));
    } catch (IOException e) {
      throw new SkipException("nvcc is not installed", e);
    }
  }

  @DataProvider(parallel = true)
  public Object[][] combinations() throws IOException {
    List<Object[]> combinations = new ArrayList<>();
    for (String name : sources()) {
      for (List<String> defines : defines(KernelSource.read(name).text())) {
        combinations.add(new Object[] {name, defines});
      }
    }
    return combinations.toArray(Object[][]::new);
  }

  @Test(dataProvider = "combinations", groups = "slow")
  public void compiles(String name, List<String> defines) throws IOException, InterruptedException {
    KernelSource source = KernelSource.read(name);
    Path directory = Files.createTempDirectory("nvcc");
    try {
      List<Path> files = new ArrayList<>();
      for (var header : source.headers().entrySet()) {
        files.add(Files.writeString(directory.resolve(header.getKey()), header.getValue()));
      }
      Path main = directory.resolve("main.cu");
      files.add(Files.writeString(main, Nvrtc.defined(name, source.text(), defines)));
      Path output = directory.resolve("main.fatbin");
      files.add(output);
      List<String> command = new ArrayList<>(List.of("nvcc", "-std=c++17", "-fatbin"));
      for (String architecture : ARCHITECTURES) {
        command.add("-gencode=arch=compute_" + architecture + ",code=sm_" + architecture);
      }
      command.addAll(List.of("-o", output.toString(), main.toString()));
      assertEquals(run(command), "", name + " " + defines);
      for (Path file : files) {
        Files.delete(file);
      }
    } finally {
      Files.deleteIfExists(directory.resolve("main.fatbin"));
    }
    Files.delete(directory);
  }

  @Test
  public void aSourceSaysWhatToTry() {
    assertEquals(
        defines("// x\n// compile: -DT=bf16 -DH=768\n// compile: -DT=float\nint a;\n"),
        List.of(List.of("T=bf16", "H=768"), List.of("T=float")));
    assertEquals(defines("// compile:\n"), List.of(List.of()));
    assertEquals(defines("int a;\n"), List.of(List.of()));
  }

  /** The sources beside common.cuh, and the tests' own. */
  private static List<String> sources() throws IOException {
    List<String> names = new ArrayList<>();
    for (String known : List.of("common.cuh", "probe.cu")) {
      Path directory;
      try {
        directory = Path.of(Cuda.class.getResource(known).toURI()).getParent();
      } catch (java.net.URISyntaxException e) {
        throw new IOException(e);
      }
      try (Stream<Path> files = Files.list(directory)) {
        files
            .map(file -> file.getFileName().toString())
            .filter(name -> name.endsWith(".cu"))
            .sorted()
            .forEach(names::add);
      }
    }
    assertFalse(names.isEmpty());
    return names;
  }

  private static List<List<String>> defines(String text) {
    List<List<String>> combinations =
        text.lines()
            .filter(line -> line.startsWith(COMPILE))
            .map(
                line ->
                    Stream.of(line.substring(COMPILE.length()).trim().split("\\s+"))
                        .filter(option -> option.startsWith("-D"))
                        .map(option -> option.substring(2))
                        .toList())
            .toList();
    return combinations.isEmpty() ? List.of(List.of()) : combinations;
  }

  /** What a command prints on its error output, where it fails or warns; at most five minutes. */
  private static String run(List<String> command) throws IOException, InterruptedException {
    Process process =
        new ProcessBuilder(command).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
    String errors =
        new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    if (!process.waitFor(5, TimeUnit.MINUTES)) {
      process.destroyForcibly();
      return "took too long";
    }
    return process.exitValue() == 0 || !errors.isEmpty() ? errors : "failed";
  }
}
