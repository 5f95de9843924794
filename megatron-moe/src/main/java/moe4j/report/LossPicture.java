package moe4j.report;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.util.List;
import moe4j.report.Curve.Kind;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler.LegendPosition;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Both losses of every run by step and by wall time, as one picture. */
final class LossPicture {
  static final int WIDTH = 1800;
  static final int HEIGHT = 760;

  private LossPicture() {}

  static BufferedImage of(List<RunSummary> runs) {
    BufferedImage picture = new BufferedImage(WIDTH, HEIGHT, BufferedImage.TYPE_INT_RGB);
    Graphics2D graphics = picture.createGraphics();
    graphics.drawImage(BitmapEncoder.getBufferedImage(chart(runs, XScale.steps())), 0, 0, null);
    graphics.drawImage(
        BitmapEncoder.getBufferedImage(chart(runs, XScale.wallTime(runs))), WIDTH / 2, 0, null);
    graphics.dispose();
    return picture;
  }

  private static XYChart chart(List<RunSummary> runs, XScale x) {
    XYChart chart =
        new XYChartBuilder()
            .width(WIDTH / 2)
            .height(HEIGHT)
            .title("Loss " + x.heading())
            .xAxisTitle(x.label())
            .yAxisTitle(LossCharts.key(runs))
            .build();
    LineChart training = LossCharts.training(runs, x);
    LineChart validation = LossCharts.validation(runs, x);
    style(chart);
    chart.getStyler().setYAxisMin(Math.min(training.y().min(), validation.y().min()));
    chart.getStyler().setYAxisMax(Math.max(training.y().max(), validation.y().max()));
    add(chart, training, Kind.RAW, "", 1f, 50, null);
    add(chart, training, Kind.LINE, " training", 2f, 150, new float[] {7, 5});
    add(chart, validation, Kind.MARKED, " validation", 3.5f, 255, null);
    return chart;
  }

  private static void style(XYChart chart) {
    ChartStyle.apply(chart);
    chart.getStyler().setLegendPosition(LegendPosition.InsideNE);
    chart
        .getStyler()
        .setXAxisMin(0.0)
        .setXAxisTickMarkSpacingHint(110)
        .setYAxisTickMarkSpacingHint(64);
  }

  private static void add(
      XYChart chart,
      LineChart curves,
      Kind kind,
      String suffix,
      float width,
      int alpha,
      float[] dashes) {
    for (Curve curve : curves.curves()) {
      if (curve.kind() == kind && !curve.isEmpty()) {
        Curve thin = curve.thinned();
        // Names are keys: the raw and the smoothed curve of a run need two.
        XYSeries series = chart.addSeries(curve.name() + kind, thin.x(), thin.y());
        Color colour = ChartStyle.colour(curve.colour());
        series.setLabel(curve.name() + suffix);
        series.setShowInLegend(kind != Kind.RAW);
        series.setLineColor(new Color(colour.getRed(), colour.getGreen(), colour.getBlue(), alpha));
        series.setLineStyle(
            new BasicStroke(width, BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND, 1f, dashes, 0f));
        series.setMarker(
            kind == Kind.MARKED && thin.size() <= 60 ? SeriesMarkers.CIRCLE : SeriesMarkers.NONE);
        series.setMarkerColor(colour);
      }
    }
  }
}
