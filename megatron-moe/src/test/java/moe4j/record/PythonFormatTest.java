package moe4j.record;

import static org.testng.Assert.assertEquals;

import java.util.Arrays;
import java.util.List;
import java.util.Random;
import moe4j.testing.Seeds;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class PythonFormatTest {

  /** What CPython 3.11 prints for {@code f'{x:.6E} {x:.1f} {x:.3f}'}. */
  @DataProvider
  static Object[][] printedByPython() {
    return new Object[][] {
      {10.92563, "1.092563E+01 10.9 10.926"},
      {0.0, "0.000000E+00 0.0 0.000"},
      {-0.0, "-0.000000E+00 -0.0 -0.000"},
      {-1.5e-7, "-1.500000E-07 -0.0 -0.000"},
      {Double.NaN, "NAN nan nan"},
      {Double.POSITIVE_INFINITY, "INF inf inf"},
      {Double.NEGATIVE_INFINITY, "-INF -inf -inf"},
      {9.9999995e-5, "9.999999E-05 0.0 0.000"},
      {1e-300, "1.000000E-300 0.0 0.000"},
      {Double.MIN_VALUE, "4.940656E-324 0.0 0.000"},
      {0.25, "2.500000E-01 0.2 0.250"},
      {0.35, "3.500000E-01 0.3 0.350"},
      {1234.25, "1.234250E+03 1234.2 1234.250"},
      {1234.35, "1.234350E+03 1234.3 1234.350"},
      {0.0005, "5.000000E-04 0.0 0.001"},
      {1.0005, "1.000500E+00 1.0 1.000"},
      {2.0005, "2.000500E+00 2.0 2.001"},
      {1.0000005, "1.000001E+00 1.0 1.000"},
      {123456789012.25, "1.234568E+11 123456789012.2 123456789012.250"},
      {1e22, "1.000000E+22 10000000000000000000000.0 10000000000000000000000.000"},
    };
  }

  @Test(dataProvider = "printedByPython")
  public void numbersAsPythonPrintsThem(double value, String expected) {
    assertEquals(
        PythonFormat.scientific(value, 6)
            + " "
            + PythonFormat.fixed(value, 1)
            + " "
            + PythonFormat.fixed(value, 3),
        expected);
  }

  @Test
  public void argumentsAsPythonPrintsThem() {
    List<Object> values =
        Arrays.asList(
            null,
            true,
            false,
            12,
            1e-5,
            0.02,
            1.0,
            1e16,
            123456789.0,
            0.0001,
            -0.0,
            1.5e-7,
            "text",
            List.of("a", "b"),
            List.of(),
            List.of(1, 2.5));
    assertEquals(
        values.stream().map(PythonFormat::str).toList(),
        List.of(
            "None",
            "True",
            "False",
            "12",
            "1e-05",
            "0.02",
            "1.0",
            "1e+16",
            "123456789.0",
            "0.0001",
            "-0.0",
            "1.5e-07",
            "text",
            "['a', 'b']",
            "[]",
            "[1, 2.5]"));
  }

  @Test
  public void scientificReadsBackToSevenFigures() {
    Random random = Seeds.random(PythonFormatTest.class);
    for (int i = 0; i < 1000; i++) {
      double value = random.nextGaussian() * Math.pow(10, random.nextInt(60) - 30);
      double back = Double.parseDouble(PythonFormat.scientific(value, 6));
      assertEquals(back, value, Math.abs(value) * 5.1e-7);
    }
  }
}
