package moe4j.kernels.experts;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class ProductCutTest {
  /** The shared memory that a block of a Hopper may have. */
  private static final int MOST_SHARED = 232_448;

  @Test
  public void aCutMultipliesFewColumnsBeyondTheLast() {
    assertEquals(columns(8, 64, 128), "128 128 128");
    assertEquals(columns(136, 192, 200, 256, 264), "192 192 256 256 192");
    assertEquals(columns(512, 768, 1024, 1536, 4096, 14336), "256 192 256 192 256 256");
  }

  private static String columns(int... sizes) {
    StringBuilder columns = new StringBuilder();
    for (int n : sizes) {
      columns.append(' ').append(ProductCut.ofColumns(n).right());
    }
    return columns.substring(1);
  }

  @Test
  public void aTileHoldsTheRowsOfAnExpertWhereThatLeavesRoom() {
    assertEquals(ProductCut.ofRows(8192, 96).right(), 128);
    assertEquals(ProductCut.ofRows(115 * 64, 64).right(), 128);
    assertEquals(ProductCut.ofRows(116 * 64, 64).right(), 192);
    assertEquals(ProductCut.ofRows(65_536, 96).right(), 192);
    assertEquals(ProductCut.ofRows(1, 1).right(), 128);
  }

  @Test
  public void everyCutHasRoom() {
    for (int n = 8; n <= 4096; n += 8) {
      for (ProductCut cut : new ProductCut[] {ProductCut.ofColumns(n), ProductCut.ofRows(n, 8)}) {
        assertTrue(cut.sharedBytes() <= MOST_SHARED, cut + " has " + cut.sharedBytes());
        assertTrue(cut.stages() >= 3 && cut.right() % 64 == 0, cut.toString());
      }
    }
  }

  @Test
  public void tilesOfTheLeftOperandAreCounted() {
    assertEquals(ProductCut.leftTiles(8), 1);
    assertEquals(ProductCut.leftTiles(128), 1);
    assertEquals(ProductCut.leftTiles(136), 2);
  }

  @Test
  public void largeGroupsAreCutWhereOthersWouldWait() {
    ProductCut cut = ProductCut.ofColumns(512);
    // 64 experts of Transformer-XL: 22,528 rows, 16 tiles each, among 132 blocks.
    assertEquals(cut.mostRows(22_528, 1024, 512, 132), 640);
    assertEquals(ProductCut.ofColumns(768).mostRows(65_536, 1536, 768, 132), 5952);
    assertEquals(cut.mostRows(512, 1024, 512, 132), 0);
    assertEquals(cut.mostRows(513, 128, 512, 132), 512);
    Random random = Seeds.random(ProductCutTest.class);
    for (int i = 0; i < 1000; i++) {
      long rows = 1L + random.nextInt(100_000);
      long n = 8L * (1 + random.nextInt(500));
      long most = ProductCut.ofColumns(n).mostRows(rows, 8L * (1 + random.nextInt(500)), n, 132);
      assertTrue(most == 0 || (most % ProductCut.TERMS == 0 && most < rows));
      long left = rows;
      long parts = 0;
      while (most > 0 && left > most) {
        long group = Math.min(left, most + 1 + random.nextInt((int) (5 * most)));
        parts += group > most ? (group + most - 1) / most : 0;
        left -= group;
      }
      assertTrue(most == 0 || parts <= ProductCut.mostParts(rows, most), rows + " by " + most);
    }
  }
}
