package moe4j.data;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Random;
import java.util.TreeSet;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class MegatronSamplerTest {
  @Test
  public void dealsBlocksOut() {
    MegatronSampler sampler = new MegatronSampler("training", 20, 3, 2, 1, 3);
    assertEquals(sampler.next(), new long[] {5, 6});
    assertEquals(sampler.consumed(), 9);
    assertEquals(sampler.next(), new long[] {11, 12});
    assertFalse(sampler.hasNext());
    assertEquals(
        expectThrows(IllegalStateException.class, sampler::next).getMessage(),
        "the training samples are used up: of 20, 15 are consumed, and the next micro-batch takes"
            + " 6");
    assertEquals(
        expectThrows(
                IllegalArgumentException.class,
                () -> new MegatronSampler("training", 20, 20, 2, 0, 1))
            .getMessage(),
        "no training samples are left: there are 20, and 20 are consumed");
  }

  /** A global batch is the same set of samples however it is shared out, and whoever resumes. */
  @Test
  public void globalBatchesDoNotDependOnTheLayout() {
    Random random = Seeds.random(MegatronSamplerTest.class);
    int globalBatch = 24;
    long consumed = 0;
    for (int batch = 0; batch < 10; batch++) {
      int dpSize = new int[] {1, 2, 3, 4}[random.nextInt(4)];
      int microBatch = new int[] {1, 2, 3, 6}[random.nextInt(4)];
      if (globalBatch % (microBatch * dpSize) != 0) {
        continue;
      }
      TreeSet<Long> ids = new TreeSet<>();
      for (int rank = 0; rank < dpSize; rank++) {
        MegatronSampler sampler =
            new MegatronSampler("training", 1000, consumed, microBatch, rank, dpSize);
        for (int i = 0; i < globalBatch / (microBatch * dpSize); i++) {
          for (long id : sampler.next()) {
            assertTrue(ids.add(id));
          }
        }
        assertEquals(sampler.consumed(), consumed + globalBatch);
      }
      assertEquals(ids.size(), globalBatch);
      assertEquals((long) ids.first(), consumed);
      assertEquals((long) ids.last(), consumed + globalBatch - 1);
      consumed += globalBatch;
    }
  }
}
