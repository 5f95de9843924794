package moe4j.kernels.experts;

import static org.testng.Assert.assertEquals;

import java.util.Random;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

/** What the host works out for a launch of grouped products: no GPU is needed. */
public class HopperProductsTest {
  /** The factor of kept values is what a tensor of bf16 would hold. */
  @Test
  public void aFactorIsRoundedAsATensorIs() {
    Random random = Seeds.random(HopperProductsTest.class);
    float[] values = Seeds.normals(random, 1000);
    // Ties, to the even neighbour below and above.
    values[0] = Float.intBitsToFloat(0x3f808000);
    values[1] = Float.intBitsToFloat(0x3f818000);
    Scopes.run(
        () -> {
          Tensor t = Tensors.of(values, values.length);
          float[] expected = Tensors.floats(t.to(ScalarType.BFloat16).to(ScalarType.Float));
          for (int i = 0; i < values.length; i++) {
            assertEquals(HopperProducts.rounded(values[i]), expected[i]);
          }
        });
  }
}
