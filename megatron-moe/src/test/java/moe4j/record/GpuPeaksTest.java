package moe4j.record;

import static org.testng.Assert.assertEquals;

import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class GpuPeaksTest {

  @DataProvider
  public Object[][] sheets() {
    return new Object[][] {
      {"NVIDIA H100 80GB HBM3", 989.4, 66.9},
      {"NVIDIA H100 PCIe", 756.0, 51.2},
      {"NVIDIA H100 NVL", 835.5, 60.0},
      {"NVIDIA H200", 989.4, 66.9},
      {"NVIDIA GH200 480GB", 989.4, 66.9},
      {"NVIDIA B200", 2250.0, 75.0},
      {"NVIDIA GB200", 2500.0, 80.0},
      {"NVIDIA A100-SXM4-80GB", 312.0, 19.5},
      {"NVIDIA L40S", 362.0, 91.6},
      {"NVIDIA GeForce RTX 4090", 165.2, 82.6},
    };
  }

  @Test(dataProvider = "sheets")
  public void known(String device, double bf16, double fp32) {
    assertEquals(GpuPeaks.of(device, Precision.BF16).get().flops(), bf16 * 1e12, 1e6);
    assertEquals(GpuPeaks.of(device, Precision.FP32).get().flops(), fp32 * 1e12, 1e6);
  }

  @DataProvider
  public Object[][] others() {
    return new Object[][] {
      {"NVIDIA H20"},
      {"NVIDIA RTX A1000"},
      {"NVIDIA L40"},
      {"NVIDIA GeForce RTX 4090 D"},
      {"NVIDIA GeForce RTX 4090 Laptop GPU"},
      {"NVIDIA H100 80GB HBM3 MIG 1g.10gb"},
      {"Tesla T4"},
    };
  }

  @Test(dataProvider = "others")
  public void toBeMeasured(String device) {
    assertEquals(GpuPeaks.of(device, Precision.BF16).isPresent(), false, device);
  }

  @Test
  public void isNamed() {
    assertEquals(
        GpuPeaks.of("NVIDIA H200", Precision.BF16).get().toString(),
        "989.4 TFLOP/s (NVIDIA H200 bf16, data sheet)");
  }
}
