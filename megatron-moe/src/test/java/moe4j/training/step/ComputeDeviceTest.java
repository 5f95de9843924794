package moe4j.training.step;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.expectThrows;

import moe4j.kernels.cuda.Cuda;
import org.testng.SkipException;
import org.testng.annotations.Test;

public class ComputeDeviceTest {
  @Test
  public void aCpuIsAlwaysThere() {
    ComputeDevice.check("cpu");
    try (ComputeDevice device = ComputeDevice.open("cpu")) {
      assertFalse(device.device().is_cuda());
    }
  }

  @Test
  public void withoutAGpuTheReasonIsSaid() {
    if (Cuda.isAvailable()) {
      throw new SkipException("this machine has a GPU");
    }
    String said =
        expectThrows(IllegalArgumentException.class, () -> ComputeDevice.check("cuda"))
            .getMessage();
    assertEquals(said, "--device cuda: " + Cuda.unavailableReason());
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> ComputeDevice.open("cuda")).getMessage(),
        said);
  }
}
