package moe4j.record;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/**
 * Numbers as Python prints them. Java's formatter rounds the shortest decimal half up where Python
 * rounds the exact binary value half to even ({@code 0.25} to one digit: 0.3 and 0.2), so lines
 * that must match to the character cannot go through it.
 */
public final class PythonFormat {
  private PythonFormat() {}

  /** {@code f'{value:.{digits}f}'}. */
  public static String fixed(double value, int digits) {
    if (!Double.isFinite(value)) {
      return notFinite(value);
    }
    String text =
        new BigDecimal(Math.abs(value)).setScale(digits, RoundingMode.HALF_EVEN).toPlainString();
    return negative(value) ? "-" + text : text;
  }

  /** {@code f'{value:.{digits}E}'}: an exponent of two digits or more, NAN and INF in capitals. */
  public static String scientific(double value, int digits) {
    if (!Double.isFinite(value)) {
      return notFinite(value).toUpperCase(Locale.ROOT);
    }
    String figures = "0".repeat(digits + 1);
    int exponent = 0;
    if (value != 0) {
      BigDecimal rounded =
          new BigDecimal(Math.abs(value))
              .round(new MathContext(digits + 1, RoundingMode.HALF_EVEN));
      exponent = rounded.precision() - rounded.scale() - 1;
      String unscaled = rounded.unscaledValue().toString();
      figures = (unscaled + figures).substring(0, digits + 1);
    }
    String power = Integer.toString(Math.abs(exponent));
    return (negative(value) ? "-" : "")
        + figures.charAt(0)
        + (digits > 0 ? "." + figures.substring(1) : "")
        + "E"
        + (exponent < 0 ? "-" : "+")
        + (power.length() < 2 ? "0" + power : power);
  }

  /** {@code str(value)} for what arguments hold: None, True, 1e-05, ['a', 'b']. */
  public static String str(Object value) {
    if (value == null) {
      return "None";
    } else if (value instanceof Boolean truth) {
      return truth ? "True" : "False";
    } else if (value instanceof Double || value instanceof Float) {
      return floating(((Number) value).doubleValue());
    } else if (value instanceof List<?> list) {
      return list.stream()
          .map(item -> item instanceof String text ? "'" + text + "'" : str(item))
          .collect(Collectors.joining(", ", "[", "]"));
    }
    return value.toString();
  }

  private static String floating(double value) {
    if (!Double.isFinite(value)) {
      return notFinite(value);
    }
    if (value == 0) {
      return negative(value) ? "-0.0" : "0.0";
    }
    BigDecimal shortest = new BigDecimal(Double.toString(Math.abs(value))).stripTrailingZeros();
    int exponent = shortest.precision() - shortest.scale() - 1;
    String sign = negative(value) ? "-" : "";
    if (exponent >= -4 && exponent < 16) {
      return sign + (shortest.scale() <= 0 ? shortest.setScale(1) : shortest).toPlainString();
    }
    String figures = shortest.unscaledValue().toString();
    String power = Integer.toString(Math.abs(exponent));
    return sign
        + figures.charAt(0)
        + (figures.length() > 1 ? "." + figures.substring(1) : "")
        + "e"
        + (exponent < 0 ? "-" : "+")
        + (power.length() < 2 ? "0" + power : power);
  }

  private static String notFinite(double value) {
    return Double.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  }

  private static boolean negative(double value) {
    return value < 0 || 1 / value < 0;
  }
}
