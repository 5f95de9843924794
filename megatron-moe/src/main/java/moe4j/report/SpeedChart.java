package moe4j.report;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.image.BufferedImage;
import java.util.List;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler.LegendPosition;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** The lines of a {@link SpeedPicture}, by XChart. */
final class SpeedChart {
  private static final int WIDTH = 1100;
  private static final int HEIGHT = 760;

  private SpeedChart() {}

  static BufferedImage of(String title, List<SpeedPicture.Line> lines) {
    XYChart chart =
        new XYChartBuilder()
            .width(WIDTH)
            .height(HEIGHT)
            .title(title)
            .xAxisTitle("experts")
            .yAxisTitle("ms")
            .build();
    ChartStyle.apply(chart);
    chart.getStyler().setLegendPosition(LegendPosition.OutsideE);
    // XChart's own logarithmic axis has labels at powers of ten alone.
    chart
        .getStyler()
        .setYAxisLogarithmic(true)
        .setXAxisTickMarkSpacingHint(60)
        .setXAxisTickLabelsFormattingFunction(SpeedChart::power);
    int colour = -1;
    String last = null;
    for (SpeedPicture.Line line : lines) {
      colour += line.name().equals(last) ? 0 : 1;
      last = line.name();
      add(chart, line, ChartStyle.colour(colour));
    }
    return BitmapEncoder.getBufferedImage(chart);
  }

  /** 2^x where x is whole. */
  private static String power(double x) {
    return x == Math.rint(x) ? String.valueOf(Math.round(Math.pow(2, x))) : "";
  }

  private static void add(XYChart chart, SpeedPicture.Line line, Color colour) {
    String label = line.name() + (line.backward() ? ", with backward" : ", forward");
    List<Double> logarithms =
        line.experts().stream().map(count -> Math.log(count) / Math.log(2)).toList();
    XYSeries series = chart.addSeries(label, logarithms, line.millis());
    float[] dashes = line.backward() ? null : new float[] {7, 5};
    series.setLineColor(colour);
    series.setLineStyle(
        new BasicStroke(
            line.backward() ? 3.5f : 2f,
            BasicStroke.CAP_ROUND,
            BasicStroke.JOIN_ROUND,
            1f,
            dashes,
            0f));
    series.setMarker(SeriesMarkers.CIRCLE);
    series.setMarkerColor(colour);
  }
}
