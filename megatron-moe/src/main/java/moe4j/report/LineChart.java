package moe4j.report;

import static moe4j.report.Markup.escape;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import moe4j.record.MetricsFile;
import moe4j.record.PythonFormat;
import moe4j.report.Curve.Kind;

/**
 * A line chart as inline SVG, coloured by the report's style sheet, with its points beside it as
 * JSON for the tooltip.
 *
 * @param title heading above the frame
 * @param xLabel what x counts, with its unit
 * @param yLabel what y is
 * @param curves drawn in this order
 * @param x the horizontal axis
 * @param y the vertical axis; what lies beyond is cut off at the frame
 * @param size the whole picture
 */
record LineChart(
    String title, String xLabel, String yLabel, List<Curve> curves, Axis x, Axis y, Size size) {

  /** Pixels at which text has its natural size. */
  record Size(int width, int height) {
    static final Size LARGE = new Size(600, 340);
    static final Size SMALL = new Size(400, 250);
  }

  private static final int LEFT = 62;
  private static final int RIGHT = 14;
  private static final int TOP = 34;
  private static final int BOTTOM = 48;

  /** A chart that shows every point. */
  static LineChart all(String title, String xLabel, String yLabel, List<Curve> curves) {
    Axis x = Axis.around(0, last(curves), 6);
    return new LineChart(
        title,
        xLabel,
        yLabel,
        curves,
        x,
        range(curves, Double.NEGATIVE_INFINITY, true),
        Size.LARGE);
  }

  /**
   * A chart framed for what comes after the first twentieth, since the plunge of the first steps
   * would press everything else flat.
   *
   * @param noise whether the frame holds the raw curves too, and not the smoothed only
   */
  static LineChart settled(
      String title, String xLabel, String yLabel, List<Curve> curves, boolean noise) {
    double end = last(curves);
    Axis x = Axis.around(0, end, 6);
    return new LineChart(
        title, xLabel, yLabel, curves, x, range(curves, 0.05 * end, noise), Size.LARGE);
  }

  private static double last(List<Curve> curves) {
    return curves.stream()
        .filter(curve -> !curve.isEmpty())
        .mapToDouble(curve -> curve.x().get(curve.size() - 1))
        .max()
        .orElse(0);
  }

  /** The vertical axis for what lies at or behind an x, and for each curve's last point. */
  private static Axis range(List<Curve> curves, double from, boolean noise) {
    double min = Double.POSITIVE_INFINITY;
    double max = Double.NEGATIVE_INFINITY;
    for (Curve curve : curves) {
      for (int i = 0; i < curve.size(); i++) {
        boolean last = i == curve.size() - 1;
        if ((noise || curve.kind() != Kind.RAW) && (last || curve.x().get(i) >= from)) {
          min = Math.min(min, curve.y().get(i));
          max = Math.max(max, curve.y().get(i));
        }
      }
    }
    if (min > max) {
      return Axis.around(0, 1, 7);
    }
    double room = (max - min) * 0.05;
    return Axis.around(min - room, max + room, 7);
  }

  /** The same with an axis that begins at 0, for what is to be read as a share of the whole. */
  LineChart fromZero() {
    Axis whole = Axis.around(0, y.max(), 7);
    return new LineChart(title, xLabel, yLabel, curves, x, whole, size);
  }

  /** The same for a narrower column. */
  LineChart small() {
    return new LineChart(title, xLabel, yLabel, curves, x, y, Size.SMALL);
  }

  private int right() {
    return size.width() - RIGHT;
  }

  private int bottom() {
    return size.height() - BOTTOM;
  }

  /** The chart, with an id that no other chart of the page has. */
  String svg(String id) {
    StringBuilder svg = new StringBuilder();
    svg.append(
        "<svg class=\"chart\" id=\"%s\" viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\">"
            .formatted(id, size.width(), size.height(), escape(title)));
    svg.append("<text class=\"title\" x=\"%s\" y=\"18\">%s</text>".formatted(LEFT, escape(title)));
    svg.append(
        "<clipPath id=\"%s-frame\"><rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"/></clipPath>"
            .formatted(id, LEFT, TOP, right() - LEFT, bottom() - TOP));
    for (double tick : y.ticks()) {
      svg.append(line("rule", LEFT, py(tick), right(), py(tick)));
      svg.append(text("tick", "end", LEFT - 7, py(tick) + 4, y.label(tick)));
    }
    for (double tick : x.ticks()) {
      svg.append(line("mark", px(tick), bottom(), px(tick), bottom() + 4));
      svg.append(text("tick", "middle", px(tick), bottom() + 18, x.label(tick)));
    }
    svg.append(line("axis", LEFT, bottom(), right(), bottom()));
    svg.append(text("label", "middle", (LEFT + right()) / 2.0, size.height() - 10, xLabel));
    svg.append(
        "<text class=\"label\" text-anchor=\"middle\" transform=\"translate(15 %s) rotate(-90)\">%s</text>"
            .formatted(number((TOP + bottom()) / 2.0), escape(yLabel)));
    svg.append("<g clip-path=\"url(#%s-frame)\">".formatted(id));
    for (Curve curve : curves) {
      draw(svg, curve.thinned());
    }
    svg.append("</g><g class=\"hover\"></g></svg>");
    return svg.toString();
  }

  private void draw(StringBuilder svg, Curve curve) {
    String style = "c%s %s".formatted(curve.colour(), curve.kind().name().toLowerCase(Locale.ROOT));
    svg.append("<polyline class=\"").append(style).append("\" points=\"");
    for (int i = 0; i < curve.size(); i++) {
      svg.append(number(px(curve.x().get(i)))).append(',');
      svg.append(number(py(curve.y().get(i)))).append(' ');
    }
    svg.append("\"/>");
    boolean few = curve.size() <= 60 && curve.kind() == Kind.MARKED;
    for (int i = 0; few && i < curve.size(); i++) {
      svg.append(
          "<circle class=\"c%s dot\" cx=\"%s\" cy=\"%s\" r=\"2.6\"/>"
              .formatted(
                  curve.colour(), number(px(curve.x().get(i))), number(py(curve.y().get(i)))));
    }
  }

  private double px(double value) {
    return LEFT + x.at(value) * (right() - LEFT);
  }

  private double py(double value) {
    // Far beyond the frame is as good as just beyond it, and keeps coordinates short.
    double share = Math.max(-1, Math.min(2, y.at(value)));
    return bottom() - share * (bottom() - TOP);
  }

  private static String line(String style, double x1, double y1, double x2, double y2) {
    return "<line class=\"%s\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>"
        .formatted(style, number(x1), number(y1), number(x2), number(y2));
  }

  private static String text(String style, String anchor, double x, double y, String text) {
    return "<text class=\"%s\" text-anchor=\"%s\" x=\"%s\" y=\"%s\">%s</text>"
        .formatted(style, anchor, number(x), number(y), escape(text));
  }

  private static String number(double value) {
    return PythonFormat.fixed(value, 1).replaceFirst("\\.0$", "");
  }

  /** The data of the tooltip: the frame, the horizontal axis, and the curves that it names. */
  String json() {
    List<Map<String, Object>> shown = new ArrayList<>();
    for (Curve curve : curves) {
      if (curve.kind().named() && !curve.isEmpty()) {
        Curve thin = curve.thinned();
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("name", thin.name());
        map.put("colour", thin.colour());
        map.put("x", thin.x().stream().map(LineChart::rounded).toList());
        map.put("y", thin.y().stream().map(LineChart::rounded).toList());
        shown.add(map);
      }
    }
    Map<String, Object> chart = new LinkedHashMap<>();
    chart.put("frame", List.of(LEFT, TOP, right(), bottom()));
    chart.put("x", List.of(x.min(), x.max()));
    chart.put("y", List.of(y.min(), y.max()));
    chart.put("label", xLabel);
    chart.put("curves", shown);
    return MetricsFile.JSON.valueToTree(chart).toString();
  }

  private static double rounded(double value) {
    return Double.parseDouble(PythonFormat.scientific(value, 5));
  }
}
