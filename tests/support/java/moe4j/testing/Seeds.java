package moe4j.testing;

import java.util.Random;
import org.testng.ITestListener;
import org.testng.ITestResult;

/**
 * The one seed of a test run: fresh each time, or given by {@code -Dmoe4j.seed=N}. A failing test
 * prints it, so that the same inputs can be drawn again.
 */
public final class Seeds implements ITestListener {
  private static final long SEED = Long.getLong("moe4j.seed", System.nanoTime() & 0x7fff_ffffL);

  /** The run's seed. */
  public static long seed() {
    return SEED;
  }

  /**
   * A generator for one test: the same seed and key always give the same numbers, whatever order
   * the tests run in.
   */
  public static Random random(Class<?> test) {
    return new Random(SEED * 31 + test.getName().hashCode());
  }

  /** Draws from N(0, 1). */
  public static float[] normals(Random random, int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  @Override
  public void onTestFailure(ITestResult result) {
    System.err.printf(
        "FAILED %s with seed %d: repeat with -Dmoe4j.seed=%d%n",
        result.getMethod().getQualifiedName(), SEED, SEED);
  }
}
