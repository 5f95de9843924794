package moe4j.report;

import static moe4j.report.Markup.escape;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.stream.Collectors;
import javax.imageio.ImageIO;
import moe4j.record.ExpertLoad;
import moe4j.record.PythonFormat;
import moe4j.record.RunHistory;
import moe4j.record.RunHistory.LoadPoint;

/**
 * Experts' load over the mean as colour: clear where it is the mean, so that it reads on a light
 * and on a dark page, orange above and blue below, full from twice and from half of it on.
 */
final class HeatMap {
  private static final int MOST_COLUMNS = 160;
  private static final int OVER = 0xe8590c;
  private static final int UNDER = 0x1971c2;

  private HeatMap() {}

  /** Every layer's experts (rows) over time (columns), a picture each. */
  static List<String> overTime(List<LoadPoint> points) throws IOException {
    int columns = Math.min(MOST_COLUMNS, points.size());
    List<LoadPoint> drawn = new ArrayList<>();
    for (int c = 0; c < columns; c++) {
      int from = (int) ((long) points.size() * c / columns);
      int to = (int) ((long) points.size() * (c + 1) / columns);
      drawn.add(
          new LoadPoint(points.get(to - 1).at(), RunHistory.together(points.subList(from, to))));
    }
    List<String> pictures = new ArrayList<>();
    for (int l = 0; l < points.get(0).load().layers().size(); l++) {
      int index = l;
      pictures.add(
          picture(
              drawn.stream().map(point -> point.load().layers().get(index)).toList(),
              drawn.stream().map(point -> point.at().step()).toList()));
    }
    return pictures;
  }

  /** One layer, a column a step. */
  private static String picture(List<ExpertLoad.Layer> columns, List<Integer> steps)
      throws IOException {
    int layer = columns.get(0).layer();
    int experts = columns.get(0).tokens().size();
    int last = steps.get(steps.size() - 1);
    int right = wide(experts) ? 392 : 292;
    int height = Math.max(112, Math.min(512, 4 * experts));
    int bottom = 22 + height;
    double row = height / (double) experts;
    StringBuilder svg = new StringBuilder();
    svg.append(
        ("<svg class=\"chart heat\" viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\""
                + " data-frame=\"44 22 %s %s\" data-layer=\"%s\" data-experts=\"%s\" data-steps=\"%s\">")
            .formatted(
                right + 8,
                bottom + 36,
                escape("Load of the experts of layer %s over %s steps".formatted(layer, last)),
                right,
                bottom,
                layer,
                experts,
                steps.stream().map(String::valueOf).collect(Collectors.joining(" "))));
    svg.append("<text class=\"title\" x=\"44\" y=\"14\">layer %s</text>".formatted(layer));
    svg.append(
        ("<image x=\"44\" y=\"22\" width=\"%s\" height=\"%s\" preserveAspectRatio=\"none\""
                + " href=\"data:image/png;base64,%s\"/>")
            .formatted(right - 44, height, png(columns)));
    svg.append(
        "<rect class=\"frame\" x=\"44\" y=\"22\" width=\"%s\" height=\"%s\"/>"
            .formatted(right - 44, height));
    for (int e = 0; e < experts; e += every(row, 20)) {
      svg.append(text("tick", "end", 38, (int) Math.round(22 + row * (e + 0.5) + 4), e));
    }
    svg.append(
        "<text class=\"label\" text-anchor=\"middle\" transform=\"translate(10 %s) rotate(-90)\">"
            .formatted((22 + bottom) / 2));
    svg.append("expert</text>");
    svg.append(text("tick", "start", 44, bottom + 16, steps.get(0)));
    svg.append(text("tick", "end", right, bottom + 16, last));
    svg.append(text("label", "middle", (44 + right) / 2, bottom + 30, "step"));
    return svg.append("</svg>").toString();
  }

  /** Whether so many rows need a large picture. */
  static boolean wide(int experts) {
    return experts > 32;
  }

  /** The least power of two at whose multiples labels have room. */
  private static int every(double cell, double room) {
    int every = 1;
    while (every * cell < room) {
      every *= 2;
    }
    return every;
  }

  private static String png(List<ExpertLoad.Layer> columns) throws IOException {
    int experts = columns.get(0).tokens().size();
    BufferedImage image = new BufferedImage(columns.size(), experts, BufferedImage.TYPE_INT_ARGB);
    for (int c = 0; c < columns.size(); c++) {
      for (int e = 0; e < experts; e++) {
        image.setRGB(c, e, argb(columns.get(c).relative(e)));
      }
    }
    ByteArrayOutputStream png = new ByteArrayOutputStream();
    ImageIO.write(image, "png", png);
    return Base64.getEncoder().encodeToString(png.toByteArray());
  }

  /** Layers (rows) by experts (columns), over the last quarter of the points together. */
  static String atEnd(List<LoadPoint> points) {
    List<ExpertLoad.Layer> layers =
        RunHistory.together(points.subList(points.size() * 3 / 4, points.size())).layers();
    int experts = layers.stream().mapToInt(layer -> layer.tokens().size()).max().getAsInt();
    double cell = Math.min(56, 1120.0 / experts);
    double height = Math.min(30, Math.max(17, cell));
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
        double relative = layers.get(l).relative(e);
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
    for (int e = 0; e < experts; e += every(cell, 28)) {
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

  /** How full the colour is: 0 at the mean, 1 from twice and from half of it on. */
  private static double strength(double relative) {
    return Math.min(1, Math.abs(Math.log(Math.max(relative, 1e-9)) / Math.log(2)));
  }

  private static int argb(double relative) {
    int alpha = (int) Math.round(255 * strength(relative));
    return (alpha << 24) | (relative >= 1 ? OVER : UNDER);
  }
}
