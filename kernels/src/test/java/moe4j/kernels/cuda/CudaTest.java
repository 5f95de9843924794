package moe4j.kernels.cuda;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotNull;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import org.testng.annotations.Test;

/** What can be said of a GPU where there may be none. */
public class CudaTest {
  @Test
  public void withoutAGpuThereIsAReason() {
    String reason = Cuda.unavailableReason();
    if (Cuda.isAvailable()) {
      assertNull(reason);
    } else {
      assertNotNull(reason);
      assertTrue(reason.endsWith(".") && !reason.contains("\n"), reason);
    }
  }

  @Test
  public void architecturesAreThoseOfNvrtc() {
    assertEquals(Cuda.architecture(8, 0), "sm_80");
    assertEquals(Cuda.architecture(8, 9), "sm_89");
    assertEquals(Cuda.architecture(9, 0), "sm_90a");
    assertEquals(Cuda.architecture(10, 0), "sm_100a");
    assertEquals(Cuda.architecture(12, 0), "sm_120");
  }

  @Test
  public void theSameNamesAreTheSameKernel() {
    CudaKernel kernel = CudaKernel.of("cuda/probe.cu", "probe", "TYPE=bf16");
    assertSame(CudaKernel.of("cuda/probe.cu", "probe", "TYPE=bf16"), kernel);
    assertEquals(kernel.toString(), "the kernel probe of cuda/probe.cu [TYPE=bf16]");
  }

  @Test
  public void anEmptyGridNeedsNoGpu() {
    CudaKernel kernel = CudaKernel.of("cuda/probe.cu", "probe");
    kernel.launch(0, 128, 0);
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> kernel.launch(1L << 31, 128, 0))
            .getMessage(),
        "the kernel probe of cuda/probe.cu cannot be launched with 2147483648 blocks.");
  }

  @Test
  public void aFailedCaptureSaysTheFirstLine() {
    RuntimeException cause = new RuntimeException("CUDA error: no\nCUDA kernel errors might ...");
    CaptureFailedException failure = new CaptureFailedException(cause);
    assertEquals(failure.getMessage(), "Capturing a CUDA graph failed: CUDA error: no");
    assertSame(failure.getCause(), cause);
    assertEquals(
        new CaptureFailedException(new IllegalStateException()).getMessage(),
        "Capturing a CUDA graph failed: java.lang.IllegalStateException");
  }
}
