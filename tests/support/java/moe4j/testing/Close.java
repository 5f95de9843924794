package moe4j.testing;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

/** Comparison of tensors' elements by norm: an element's own size says little about its error. */
public final class Close {
  private Close() {}

  /** The same numbers, wider. */
  public static double[] doubles(float[] values) {
    double[] wide = new double[values.length];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  /** The Frobenius norm. */
  public static double norm(double[] values) {
    double sum = 0;
    for (double value : values) {
      sum += value * value;
    }
    return Math.sqrt(sum);
  }

  /** The Frobenius norm of the difference; not a number where an element is none. */
  public static double distance(double[] actual, double[] expected) {
    assertEquals(actual.length, expected.length, "elements");
    double[] difference = new double[actual.length];
    for (int i = 0; i < actual.length; i++) {
      difference[i] = actual[i] - expected[i];
    }
    return norm(difference);
  }

  /**
   * Asserts that the distance is at most {@code relative} times the expected norm, which counts as
   * {@code floor} where it is less: what should be zero is rounding's residue, and relative to
   * nothing.
   */
  public static void assertClose(
      String what, double[] actual, double[] expected, double relative, double floor) {
    double distance = distance(actual, expected);
    double norm = norm(expected);
    assertTrue(
        distance <= relative * Math.max(norm, floor),
        "%s: differs by %.3g from a norm of %.3g, more than %.0e of it (or of %.0e)"
            .formatted(what, distance, norm, relative, floor));
  }

  /** The same of fp32 numbers. */
  public static void assertClose(
      String what, float[] actual, double[] expected, double relative, double floor) {
    assertClose(what, doubles(actual), expected, relative, floor);
  }

  /** The same of fp32 numbers. */
  public static void assertClose(
      String what, float[] actual, float[] expected, double relative, double floor) {
    assertClose(what, doubles(actual), doubles(expected), relative, floor);
  }
}
