package moe4j.kernels.experts;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.testing.Seeds;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

/** What the host works out for a launch of grouped products: no GPU is needed. */
public class HopperProductsTest {
  /** The shared memory that a block of a Hopper may have. */
  private static final int MOST_SHARED = 232_448;

  @Test
  public void aCutMultipliesFewColumnsBeyondTheLast() {
    assertEquals(columns(8, 64, 128), "128 128 128");
    assertEquals(columns(136, 192, 200, 256, 264), "192 192 256 256 192");
    assertEquals(columns(512, 768, 1024, 1536, 4096, 14336), "256 192 256 192 256 256");
    assertEquals(HopperProducts.Cut.of(HopperProducts.Op.DUP, 1536).columns(), 256);
    for (HopperProducts.Op op : HopperProducts.Op.values()) {
      for (int n = 8; n <= 4096; n += 8) {
        HopperProducts.Cut cut = HopperProducts.Cut.of(op, n);
        assertTrue(cut.sharedBytes() <= MOST_SHARED, cut + " has " + cut.sharedBytes());
        long tiles = cut.tiles(n);
        assertTrue(tiles * cut.columns() >= n && (tiles - 1) * cut.columns() < n, n + ": " + cut);
      }
    }
  }

  private static String columns(int... sizes) {
    StringBuilder columns = new StringBuilder();
    for (int n : sizes) {
      columns.append(' ').append(HopperProducts.Cut.of(HopperProducts.Op.UP, n).columns());
    }
    return columns.substring(1);
  }

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
