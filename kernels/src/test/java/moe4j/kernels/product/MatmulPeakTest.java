package moe4j.kernels.product;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class MatmulPeakTest {
  private final Random random = Seeds.random(MatmulPeakTest.class);

  @DataProvider
  public Object[][] types() {
    return new Object[][] {{ScalarType.Float}, {ScalarType.BFloat16}};
  }

  /** Bit for bit: another library than the layers' adds up in another order. */
  @Test(dataProvider = "types")
  public void whatIsTimedIsALinearLayersProduct(ScalarType type) {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = square().to(type);
      Tensor weight = square().to(type);
      assertEquals(
          Tensors.floats(MatmulPeak.product(x, weight)),
          Tensors.floats(Gemm.linear(x, weight, null)));
    }
  }

  private Tensor square() {
    long size = MatmulPeak.SIZE;
    return Tensors.of(Seeds.normals(random, (int) (size * size)), size, size);
  }

  @Test(dataProvider = "types")
  public void measuringLeavesNothingBehind(ScalarType type) {
    Device device = new Device("cpu");
    MatmulPeak.measure(type, device);
    long pointers = Scopes.livePointers();
    assertTrue(MatmulPeak.measure(type, device) > 0);
    // Java's collector may take older ones meanwhile.
    assertTrue(Scopes.livePointers() <= pointers);
    assertTrue(GradMode.is_enabled());
  }
}
