package moe4j.report;

import java.util.ArrayList;
import java.util.List;
import moe4j.record.IterationRecord;
import moe4j.report.Curve.Kind;

/** The runs' loss curves over one scale. */
final class LossCharts {
  private LossCharts() {}

  /** What losses are drawn as: bits per character where every run has them. */
  static String key(List<RunSummary> runs) {
    return runs.stream().allMatch(RunSummary::hasBitsPerCharacter)
        ? IterationRecord.BPC
        : IterationRecord.LM_LOSS;
  }

  /** Training: smoothed, with what was measured faint behind. */
  static LineChart training(List<RunSummary> runs, XScale x) {
    return LineChart.settled(
        "Training loss " + x.heading(),
        x.label(),
        key(runs),
        smoothedOverRaw(runs, x, key(runs)),
        false);
  }

  /** Validation: as measured. */
  static LineChart validation(List<RunSummary> runs, XScale x) {
    List<Curve> curves = new ArrayList<>();
    for (RunSummary run : runs) {
      curves.add(run.curve(Kind.MARKED, run.history().validation(), x.of(), key(runs)));
    }
    return LineChart.settled("Validation loss " + x.heading(), x.label(), key(runs), curves, true);
  }

  /** Curves of one key, all the raw ones behind all the smoothed ones. */
  static List<Curve> smoothedOverRaw(List<RunSummary> runs, XScale x, String key) {
    List<Curve> curves = new ArrayList<>();
    for (RunSummary run : runs) {
      curves.add(run.curve(Kind.RAW, run.history().train(), x.of(), key));
    }
    for (int i = 0; i < runs.size(); i++) {
      curves.add(curves.get(i).smoothed());
    }
    return curves;
  }
}
