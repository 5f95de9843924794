package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.testng.annotations.Test;

public class KernelSourceTest {
  @Test
  public void aSourceComesWithWhatItIncludes() {
    KernelSource source = KernelSource.read("cuda/probe.cu");
    assertEquals(source.headers().keySet(), Set.of("common.cuh"));
    assertTrue(source.headers().get("common.cuh").contains("struct bf16"));
  }

  @Test
  public void headersComeWithTheirsOnceEach() {
    assertEquals(
        KernelSource.read("activation/activation.cu").headers().keySet(),
        Set.of("activation.cuh", "common.cuh", "tile.cuh"));
  }

  @Test
  public void aMissingSourceIsNamed() {
    assertEquals(refusal("norm/none.cu"), "There is no kernel source norm/none.cu.");
    assertEquals(
        refusal("probe/missing.cu"),
        "There is no kernel source nowhere.cuh, included by probe/missing.cu.");
  }

  /** A header of the topic's own comes before those that all share, and finds those itself. */
  @Test
  public void aTopicsHeaderLiesBesideItsSource() {
    assertEquals(
        KernelSource.read("attention/relative_keys.cu").headers().keySet(),
        Set.of("relative_gradients.cuh", "relative_attention.cuh", "mma.cuh", "common.cuh"));
  }

  /** NVRTC knows a header by the name it is included by, so one name may not stand for two. */
  @Test
  public void noTopicsHeaderIsCalledAsASharedOne() throws IOException {
    Path topics = Path.of(System.getProperty("moe4j.root"), "kernels/src/main/java/moe4j/kernels");
    List<String> names = new ArrayList<>();
    try (Stream<Path> files = Files.walk(topics)) {
      files
          .map(file -> file.getFileName().toString())
          .filter(name -> name.endsWith(".cuh"))
          .forEach(names::add);
    }
    assertTrue(names.contains("common.cuh"), names.toString());
    assertEquals(names.stream().distinct().count(), names.size(), names.toString());
  }

  private static String refusal(String source) {
    return expectThrows(IllegalStateException.class, () -> KernelSource.read(source)).getMessage();
  }

  @Test
  public void definitionsStandAboveTheSourceAndCountNoLines() {
    assertEquals(
        Nvrtc.defined("x.cu", "int a;\n", List.of("TYPE=bf16", "FAST", "W=1=1")),
        "#define TYPE bf16\n#define FAST 1\n#define W 1=1\n#line 1 \"x.cu\"\nint a;\n");
  }

  @Test
  public void errorsKeepFileAndLine() {
    String log =
        """
        norm.cu(3): warning #177-D: variable "a" was declared but never referenced

        norm.cu(12): error: identifier "x" is undefined
            y = x;
                ^

        common.cuh(7): catastrophic error: cannot open source file "none.cuh"

        2 errors detected in the compilation of "norm.cu".
        """;
    assertEquals(
        Nvrtc.firstErrors(log),
        "norm.cu(12): error: identifier \"x\" is undefined;"
            + " common.cuh(7): catastrophic error: cannot open source file \"none.cuh\"");
  }

  @Test
  public void ofManyErrorsTheFirstAreShown() {
    assertEquals(
        Nvrtc.firstErrors("a(1): error: b\n".repeat(5)),
        "a(1): error: b; a(1): error: b; a(1): error: b; and 2 more");
    assertEquals(Nvrtc.firstErrors("out of memory\n"), "out of memory");
    assertEquals(Nvrtc.firstErrors(""), "the compiler gives no reason");
  }
}
