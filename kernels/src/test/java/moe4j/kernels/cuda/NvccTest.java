package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Every kernel source compiles for every architecture, where nvcc is installed; no GPU is needed. A
 * source names the definitions to try in its first lines, {@code // compile: -DTYPE=bf16 -DH=768},
 * a line for each combination.
 */
public class NvccTest {
  private static final String COMPILE = "// compile:";
  private static final List<String> ARCHITECTURES = List.of("80", "90a", "100");
  private static final Semaphore TWO_AT_A_TIME = new Semaphore(2);

  @BeforeClass
  public void findNvcc() throws IOException, InterruptedException {
    try {
      run(List.of("nvcc", "--version"));
    } catch (IOException e) {
      throw new SkipException("nvcc is not installed", e);
    }
  }

  /** A source's first combination is for every architecture, the others are for Hopper alone. */
  @DataProvider(parallel = true)
  public Object[][] combinations() throws IOException, URISyntaxException {
    List<Object[]> combinations = new ArrayList<>();
    for (String name : sources()) {
      List<String> architectures = ARCHITECTURES;
      for (List<String> defines : defines(KernelSource.read(name).text())) {
        combinations.add(new Object[] {name, defines, architectures});
        architectures = List.of("90a");
      }
    }
    return combinations.toArray(Object[][]::new);
  }

  @Test(dataProvider = "combinations", groups = "slow")
  public void compiles(String name, List<String> defines, List<String> architectures)
      throws IOException, InterruptedException {
    KernelSource source = KernelSource.read(name);
    Path directory = Files.createTempDirectory("nvcc");
    TWO_AT_A_TIME.acquire();
    try {
      for (var header : source.headers().entrySet()) {
        Files.writeString(directory.resolve(header.getKey()), header.getValue());
      }
      Path main = directory.resolve("main.cu");
      Files.writeString(main, Nvrtc.defined(name, source.text(), defines));
      List<String> command = new ArrayList<>(List.of("nvcc", "-std=c++17", "-fatbin"));
      for (String architecture : architectures) {
        command.add("-gencode=arch=compute_" + architecture + ",code=sm_" + architecture);
      }
      command.addAll(List.of("-o", directory.resolve("main.fatbin").toString(), main.toString()));
      assertEquals(run(command), "", name + " " + defines);
    } finally {
      TWO_AT_A_TIME.release();
      try (Stream<Path> files = Files.list(directory)) {
        for (Path file : files.toList()) {
          Files.delete(file);
        }
      }
      Files.delete(directory);
    }
  }

  @Test
  public void aSourceSaysWhatToTry() {
    assertEquals(
        defines("// x\n// compile: -DTYPE=bf16 -DH=768\n// compile: -DTYPE=float\nint a;\n"),
        List.of(List.of("TYPE=bf16", "H=768"), List.of("TYPE=float")));
    assertEquals(defines("// compile:\n"), List.of(List.of()));
    assertEquals(defines("int a;\n"), List.of(List.of()));
  }

  /** Every topic's sources, and the tests' probe. */
  private static List<String> sources() throws IOException, URISyntaxException {
    List<String> names = new ArrayList<>(List.of("cuda/probe.cu"));
    Path topics = Path.of(Cuda.class.getResource("common.cuh").toURI()).getParent().getParent();
    try (Stream<Path> files = Files.walk(topics)) {
      files
          .map(file -> topics.relativize(file).toString())
          .filter(name -> name.endsWith(".cu"))
          .sorted()
          .forEach(names::add);
    }
    assertTrue(names.size() > 1, names.toString());
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
