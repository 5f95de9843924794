package moe4j.report;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import org.knowm.xchart.XYChart;

/** What all pictures have in common. */
final class ChartStyle {
  /** The report's colours for light pages. */
  private static final int[] COLOURS = {
    0x2563eb, 0xe8590c, 0x0f9d6b, 0xa33ea1, 0xc92a2a, 0x0b7f93, 0x8a6d00, 0x5f5bd7
  };

  private ChartStyle() {}

  /** The colour of a run, or of another line. */
  static Color colour(int number) {
    return new Color(COLOURS[number]);
  }

  /** Sets fonts, grid and background. */
  static void apply(XYChart chart) {
    chart
        .getStyler()
        .setChartBackgroundColor(Color.WHITE)
        .setPlotBackgroundColor(Color.WHITE)
        .setPlotBorderVisible(false)
        .setLegendBorderColor(Color.WHITE)
        .setLegendFont(new Font(Font.SANS_SERIF, Font.PLAIN, 19))
        .setChartTitleFont(new Font(Font.SANS_SERIF, Font.BOLD, 24))
        .setChartTitleBoxVisible(false)
        .setChartPadding(18);
    chart
        .getStyler()
        .setAxisTitleFont(new Font(Font.SANS_SERIF, Font.PLAIN, 19))
        .setAxisTickLabelsFont(new Font(Font.SANS_SERIF, Font.PLAIN, 17))
        .setPlotGridLinesColor(new Color(0xe4e7ec))
        .setPlotGridLinesStroke(new BasicStroke(1f))
        .setMarkerSize(8);
  }
}
