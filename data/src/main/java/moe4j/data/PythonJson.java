package moe4j.data;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.List;
import java.util.Map;

/**
 * JSON as Python's {@code json.dumps(value, indent=4)} spells it, to the character: cache files are
 * named by its MD5.
 */
final class PythonJson {
  private PythonJson() {}

  /** Maps, lists, strings, integers, doubles and null, nested. */
  static String dumps(Object value) {
    StringBuilder out = new StringBuilder();
    write(out, value, "\n");
    return out.toString();
  }

  private static void write(StringBuilder out, Object value, String newline) {
    String inner = newline + "    ";
    if (value instanceof Map<?, ?> map) {
      String separator = inner;
      out.append('{');
      for (Map.Entry<?, ?> entry : map.entrySet()) {
        out.append(separator);
        string(out, (String) entry.getKey());
        write(out.append(": "), entry.getValue(), inner);
        separator = "," + inner;
      }
      out.append(map.isEmpty() ? "}" : newline + "}");
    } else if (value instanceof List<?> list) {
      String separator = inner;
      out.append('[');
      for (Object element : list) {
        write(out.append(separator), element, inner);
        separator = "," + inner;
      }
      out.append(list.isEmpty() ? "]" : newline + "]");
    } else if (value instanceof String string) {
      string(out, string);
    } else if (value instanceof Double number) {
      out.append(repr(number));
    } else if (value == null || value instanceof Integer || value instanceof Long) {
      out.append(value);
    } else {
      throw new IllegalArgumentException("no JSON for " + value.getClass());
    }
  }

  private static void string(StringBuilder out, String string) {
    out.append('"');
    for (int i = 0; i < string.length(); i++) {
      char c = string.charAt(i);
      switch (c) {
        case '"' -> out.append("\\\"");
        case '\\' -> out.append("\\\\");
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        case '\b' -> out.append("\\b");
        case '\f' -> out.append("\\f");
        default -> out.append(c < ' ' || c > '~' ? "\\u%04x".formatted((int) c) : c);
      }
    }
    out.append('"');
  }

  /**
   * Python's {@code repr} of a finite double: the shortest decimal that reads back as it. Java's
   * own {@code toString} is not always the shortest before version 19.
   */
  static String repr(double value) {
    if (value == 0) {
      return 1 / value < 0 ? "-0.0" : "0.0";
    }
    BigDecimal exact = new BigDecimal(value);
    BigDecimal shortest = exact;
    for (int digits = 1; digits <= 17; digits++) {
      shortest = exact.round(new MathContext(digits, RoundingMode.HALF_EVEN));
      if (shortest.doubleValue() == value) {
        break;
      }
    }
    shortest = shortest.stripTrailingZeros();
    int exponent = shortest.precision() - shortest.scale() - 1;
    if (exponent >= -4 && exponent < 16) {
      String plain = shortest.toPlainString();
      return plain.indexOf('.') < 0 ? plain + ".0" : plain;
    }
    String digits = shortest.unscaledValue().abs().toString();
    return (value < 0 ? "-" : "")
        + digits.charAt(0)
        + (digits.length() > 1 ? "." + digits.substring(1) : "")
        + "e%+03d".formatted(exponent);
  }
}
