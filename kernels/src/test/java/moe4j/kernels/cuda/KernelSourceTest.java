package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import java.util.Set;
import org.testng.annotations.Test;

public class KernelSourceTest {
  @Test
  public void aSourceComesWithWhatItIncludes() {
    KernelSource source = KernelSource.read("probe.cu");
    assertEquals(source.headers().keySet(), Set.of("common.cuh"));
    assertTrue(source.headers().get("common.cuh").contains("struct bf16"));
  }

  @Test
  public void headersComeWithTheirsOnceEach() {
    assertEquals(
        KernelSource.read("activation.cu").headers().keySet(),
        Set.of("activation.cuh", "common.cuh", "tile.cuh"));
  }

  @Test
  public void aMissingSourceIsNamed() {
    assertEquals(
        expectThrows(IllegalStateException.class, () -> KernelSource.read("none.cu")).getMessage(),
        "There is no kernel source none.cu.");
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
