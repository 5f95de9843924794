package moe4j.report;

import java.util.List;
import java.util.function.ToDoubleFunction;
import moe4j.record.RunHistory.Moment;

/** What a curve is drawn over, in a unit that suits all the runs. */
record XScale(String heading, String label, ToDoubleFunction<Moment> of) {

  static XScale steps() {
    return new XScale("by step", "step", Moment::step);
  }

  static XScale tokens() {
    return new XScale("by tokens", "tokens", Moment::tokens);
  }

  static XScale wallTime(List<RunSummary> runs) {
    double longest =
        runs.stream().mapToDouble(run -> run.history().last().wallSeconds()).max().orElse(0);
    double unit = longest >= 3 * 3600 ? 3600 : longest >= 180 ? 60 : 1;
    String name = unit == 3600 ? "h" : unit == 60 ? "min" : "s";
    return new XScale(
        "by wall time", "wall time (" + name + ")", moment -> moment.wallSeconds() / unit);
  }
}
