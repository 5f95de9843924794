package moe4j.training.record;

import static moe4j.training.record.Markup.escape;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import javax.imageio.ImageIO;
import moe4j.training.record.RunHistory.LoadPoint;

/**
 * Experts' load over the mean as colour: clear where it is the mean, so that it reads on a light
 * and on a dark page, orange above and blue below, full from twice and from half of it on.
 */
final class HeatMap {
  private static final int MOST_COLUMNS = 160;
  private static final int OVER = 0xe8590c;
  private static final int UNDER = 0x1971c2;

  private HeatMap() {}

  /** One layer's experts (rows) over time (columns). */
  static String overTime(List<LoadPoint> points, int layerIndex) throws IOException {
    List<ExpertLoad.Layer> columns = new ArrayList<>();
    for (int c = 0; c < Math.min(MOST_COLUMNS, points.size()); c++) {
      int point = (int) ((long) points.size() * c / Math.min(MOST_COLUMNS, points.size()));
      columns.add(points.get(point).load().layers().get(layerIndex));
    }
    int experts = columns.get(0).tokens().size();
    BufferedImage image = new BufferedImage(columns.size(), experts, BufferedImage.TYPE_INT_ARGB);
    for (int c = 0; c < columns.size(); c++) {
      for (int e = 0; e < experts; e++) {
        image.setRGB(c, e, argb(columns.get(c).relative(e)));
      }
    }
    ByteArrayOutputStream png = new ByteArrayOutputStream();
    ImageIO.write(image, "png", png);
    int layer = columns.get(0).layer();
    int last = points.get(points.size() - 1).at().step();
    String label = "Load of the experts of layer %s over %s steps".formatted(layer, last);
    int bottom = 22 + Math.max(112, Math.min(260, 3 * experts));
    StringBuilder svg = new StringBuilder();
    svg.append(
        "<svg class=\"chart heat\" viewBox=\"0 0 300 %s\" role=\"img\" aria-label=\"%s\">"
            .formatted(bottom + 36, escape(label)));
    svg.append("<text class=\"title\" x=\"44\" y=\"14\">layer %s</text>".formatted(layer));
    svg.append(
        ("<image x=\"44\" y=\"22\" width=\"248\" height=\"%s\" preserveAspectRatio=\"none\""
                + " href=\"data:image/png;base64,%s\"/>")
            .formatted(bottom - 22, Base64.getEncoder().encodeToString(png.toByteArray())));
    svg.append(
        "<rect class=\"frame\" x=\"44\" y=\"22\" width=\"248\" height=\"%s\"/>"
            .formatted(bottom - 22));
    svg.append(text("tick", "end", 38, 33, "0"));
    svg.append(text("tick", "end", 38, bottom - 1, experts - 1));
    svg.append(
        "<text class=\"label\" text-anchor=\"middle\" transform=\"translate(14 %s) rotate(-90)\">"
            .formatted((22 + bottom) / 2));
    svg.append("expert</text>");
    svg.append(text("tick", "start", 44, bottom + 16, points.get(0).at().step()));
    svg.append(text("tick", "end", 292, bottom + 16, last));
    svg.append(text("label", "middle", 168, bottom + 30, "step"));
    return svg.append("</svg>").toString();
  }

  /** Layers (rows) by experts (columns), averaged over the last quarter of the points. */
  static String atEnd(List<LoadPoint> points) {
    List<LoadPoint> last = points.subList(points.size() * 3 / 4, points.size());
    List<ExpertLoad.Layer> layers = last.get(0).load().layers();
    int experts = layers.stream().mapToInt(layer -> layer.tokens().size()).max().getAsInt();
    double cell = Math.min(56, 840.0 / experts);
    double height = Math.min(30, Math.max(14, cell));
    int width = (int) (70 + cell * experts + 10);
    int bottom = (int) (24 + height * layers.size());
    StringBuilder svg = new StringBuilder();
    svg.append(
        ("<svg class=\"chart heat wide\" viewBox=\"0 0 %s %s\" style=\"max-width:%spx\" role=\"img\""
                + " aria-label=\"Load by layer and expert\">")
            .formatted(width, bottom + 40, width));
    svg.append("<text class=\"label\" x=\"0\" y=\"14\">layer</text>");
    for (int l = 0; l < layers.size(); l++) {
      double y = 20 + height * l;
      svg.append(
          "<text class=\"tick\" text-anchor=\"end\" x=\"58\" y=\"%s\">%s</text>"
              .formatted(PythonFormat.fixed(y + height / 2 + 4, 1), layers.get(l).layer()));
      for (int e = 0; e < layers.get(l).tokens().size(); e++) {
        double relative = mean(last, l, e);
        String value = PythonFormat.fixed(relative, 2);
        double x = 66 + cell * e;
        svg.append(
            ("<rect class=\"cell\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" fill=\"#%06x\""
                    + " fill-opacity=\"%s\"><title>layer %s, expert %s: %s of the mean</title></rect>")
                .formatted(
                    PythonFormat.fixed(x, 1),
                    PythonFormat.fixed(y, 1),
                    PythonFormat.fixed(cell - 1, 1),
                    PythonFormat.fixed(height - 1, 1),
                    relative >= 1 ? OVER : UNDER,
                    PythonFormat.fixed(strength(relative), 3),
                    layers.get(l).layer(),
                    e,
                    value));
        if (cell >= 36) {
          svg.append(
              "<text class=\"value\" text-anchor=\"middle\" x=\"%s\" y=\"%s\">%s</text>"
                  .formatted(
                      PythonFormat.fixed(x + cell / 2, 1),
                      PythonFormat.fixed(y + height / 2 + 4, 1),
                      value));
        }
      }
    }
    int every = (int) Math.ceil(28 / cell);
    for (int e = 0; e < experts; e += every) {
      svg.append(
          "<text class=\"tick\" text-anchor=\"middle\" x=\"%s\" y=\"%s\">%s</text>"
              .formatted(PythonFormat.fixed(66 + cell * (e + 0.5), 1), bottom + 12, e));
    }
    svg.append(
        "<text class=\"label\" text-anchor=\"middle\" x=\"%s\" y=\"%s\">expert</text></svg>"
            .formatted(PythonFormat.fixed(66 + cell * experts / 2, 1), bottom + 32));
    return svg.toString();
  }

  private static String text(String style, String anchor, int x, int y, Object text) {
    return "<text class=\"%s\" text-anchor=\"%s\" x=\"%s\" y=\"%s\">%s</text>"
        .formatted(style, anchor, x, y, text);
  }

  private static double mean(List<LoadPoint> points, int layer, int expert) {
    return points.stream()
        .mapToDouble(point -> point.load().layers().get(layer).relative(expert))
        .average()
        .getAsDouble();
  }

  /** How full the colour is: 0 at the mean, 1 from twice and from half of it on. */
  private static double strength(double relative) {
    return Math.min(1, Math.abs(Math.log(Math.max(relative, 1e-9)) / Math.log(2)));
  }

  private static int argb(double relative) {
    int alpha = (int) Math.round(255 * strength(relative));
    return (alpha << 24) | (relative >= 1 ? OVER : UNDER);
  }
}
