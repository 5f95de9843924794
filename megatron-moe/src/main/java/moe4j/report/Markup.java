package moe4j.report;

/**
 * Escapes for the report's text. Whole numbers are put into it, and into log lines, by {@code %s}:
 * {@code %d} would write them in the digits of the machine's language.
 */
final class Markup {
  private Markup() {}

  /** For text and for attributes in double quotes, in HTML and in SVG. */
  static String escape(String text) {
    StringBuilder safe = new StringBuilder(text.length() + 16);
    text.codePoints()
        .forEach(
            c -> {
              switch (c) {
                case '&' -> safe.append("&amp;");
                case '<' -> safe.append("&lt;");
                case '>' -> safe.append("&gt;");
                case '"' -> safe.append("&quot;");
                case '\'' -> safe.append("&#39;");
                default -> {
                  // XML has no way to write most control characters.
                  boolean control = c < 0x20 && c != '\t' && c != '\n' && c != '\r';
                  safe.appendCodePoint(control ? 0xfffd : c);
                }
              }
            });
    return safe.toString();
  }

  /** For JSON within a script element, which ends at the first end tag whatever holds it. */
  static String escapeScript(String json) {
    return json.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029");
  }
}
