package moe4j.training.record;

import static moe4j.training.record.Markup.escape;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import moe4j.training.record.Curve.Kind;

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
 */
record LineChart(String title, String xLabel, String yLabel, List<Curve> curves, Axis x, Axis y) {
  private static final int WIDTH = 600;
  private static final int HEIGHT = 340;
  private static final int LEFT = 62;
  private static final int RIGHT = 14;
  private static final int TOP = 34;
  private static final int BOTTOM = 48;

  /** A chart that shows every point. */
  static LineChart all(String title, String xLabel, String yLabel, List<Curve> curves) {
    return of(title, xLabel, yLabel, curves, 0);
  }

  /**
   * A chart of a loss, framed for what comes after the first twentieth: the plunge of the first
   * steps would press everything else flat.
   */
  static LineChart loss(String title, String xLabel, String yLabel, List<Curve> curves) {
    return of(title, xLabel, yLabel, curves, 0.05);
  }

  private static LineChart of(
      String title, String xLabel, String yLabel, List<Curve> curves, double skipped) {
    double xMin = 0;
    double xMax = 0;
    for (Curve curve : curves) {
      for (double value : curve.x()) {
        xMax = Math.max(xMax, value);
      }
    }
    double yMin = Double.POSITIVE_INFINITY;
    double yMax = Double.NEGATIVE_INFINITY;
    for (Curve curve : curves) {
      for (int i = 0; i < curve.size(); i++) {
        yMin = Math.min(yMin, curve.y().get(i));
        boolean last = i == curve.size() - 1;
        if (curve.kind() != Kind.RAW && (curve.x().get(i) >= skipped * xMax || last)) {
          yMax = Math.max(yMax, curve.y().get(i));
        }
      }
    }
    if (yMin > yMax) {
      yMin = 0;
      yMax = 1;
    }
    double room = (yMax - yMin) * 0.05;
    return new LineChart(
        title,
        xLabel,
        yLabel,
        curves,
        Axis.around(xMin, xMax, 6),
        Axis.around(yMin - room, yMax + room, 5));
  }

  /** The chart, with an id that no other chart of the page has. */
  String svg(String id) {
    StringBuilder svg = new StringBuilder();
    svg.append(
        "<svg class=\"chart\" id=\"%s\" viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\">"
            .formatted(id, WIDTH, HEIGHT, escape(title)));
    svg.append("<text class=\"title\" x=\"%s\" y=\"18\">%s</text>".formatted(LEFT, escape(title)));
    svg.append(
        "<clipPath id=\"%s-frame\"><rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"/></clipPath>"
            .formatted(id, LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM));
    for (double tick : y.ticks()) {
      svg.append(line("rule", LEFT, py(tick), WIDTH - RIGHT, py(tick)));
      svg.append(text("tick", "end", LEFT - 7, py(tick) + 4, y.label(tick)));
    }
    for (double tick : x.ticks()) {
      svg.append(line("mark", px(tick), HEIGHT - BOTTOM, px(tick), HEIGHT - BOTTOM + 4));
      svg.append(text("tick", "middle", px(tick), HEIGHT - BOTTOM + 18, x.label(tick)));
    }
    svg.append(line("axis", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM));
    svg.append(text("label", "middle", (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10, xLabel));
    svg.append(
        "<text class=\"label\" text-anchor=\"middle\" transform=\"translate(15 %s) rotate(-90)\">%s</text>"
            .formatted(number((TOP + HEIGHT - BOTTOM) / 2.0), escape(yLabel)));
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
    return LEFT + x.at(value) * (WIDTH - LEFT - RIGHT);
  }

  private double py(double value) {
    // Far beyond the frame is as good as just beyond it, and keeps coordinates short.
    double share = Math.max(-1, Math.min(2, y.at(value)));
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
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

  /** What the tooltip needs: the frame, the horizontal axis, and the curves it names. */
  String json() throws JsonProcessingException {
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
    chart.put("frame", List.of(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM));
    chart.put("x", List.of(x.min(), x.max()));
    chart.put("y", List.of(y.min(), y.max()));
    chart.put("label", xLabel);
    chart.put("curves", shown);
    return MetricsFile.JSON.writeValueAsString(chart);
  }

  private static double rounded(double value) {
    return Double.parseDouble(PythonFormat.scientific(value, 5));
  }
}
