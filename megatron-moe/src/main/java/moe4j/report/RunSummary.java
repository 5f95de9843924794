package moe4j.report;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import java.util.stream.Stream;
import moe4j.record.IterationRecord;
import moe4j.record.RunHistory;
import moe4j.record.RunHistory.Moment;
import moe4j.record.RunHistory.Point;
import moe4j.report.Curve.Kind;

/**
 * A run in a comparison.
 *
 * @param label its name, told apart from other runs of the same name by its directory
 * @param colour its number, which chooses its colour
 */
record RunSummary(String label, int colour, RunHistory history) {

  /** Colours that the style sheet tells apart; further runs take them again. */
  static final int COLOURS = 8;

  static List<RunSummary> of(List<RunHistory> histories) {
    Map<String, Integer> uses = new HashMap<>();
    histories.forEach(run -> uses.merge(run.config().name(), 1, Integer::sum));
    List<RunSummary> runs = new ArrayList<>();
    for (RunHistory history : histories) {
      String name = history.config().name();
      String label = uses.get(name) == 1 ? name : name + " (" + history.directory() + ")";
      runs.add(new RunSummary(label, runs.size() % COLOURS, history));
    }
    return runs;
  }

  Curve curve(Kind kind, List<Point> points, ToDoubleFunction<Moment> x, String key) {
    return Curve.of(
        label, colour, kind, points, point -> x.applyAsDouble(point.at()), p -> p.value(key));
  }

  /** The last validation loss, NaN without one. */
  double validationLoss() {
    return history.finalValidationLoss().orElse(Double.NaN);
  }

  /** Whether its losses are recorded in bits per character, too. */
  boolean hasBitsPerCharacter() {
    return Stream.concat(history.train().stream(), history.validation().stream())
        .anyMatch(point -> point.values().containsKey(IterationRecord.BPC));
  }

  /** The last loss on the test set, NaN without one. */
  double testLoss() {
    List<Point> test = history.test();
    return test.isEmpty() ? Double.NaN : test.get(test.size() - 1).loss();
  }

  /** The lowest validation loss, NaN without one. */
  double bestValidationLoss() {
    return history.validation().stream().mapToDouble(Point::loss).min().orElse(Double.NaN);
  }

  /** The mean training loss of the last twentieth of the points, NaN without one. */
  double trainingLoss() {
    List<Point> points = history.train();
    return points.subList(points.size() * 19 / 20, points.size()).stream()
        .mapToDouble(Point::loss)
        .average()
        .orElse(Double.NaN);
  }

  /** The median over the log intervals, NaN where none measured it. */
  double median(String key) {
    double[] values =
        history.train().stream()
            .mapToDouble(point -> point.value(key))
            .filter(Double::isFinite)
            .sorted()
            .toArray();
    return values.length == 0 ? Double.NaN : values[values.length / 2];
  }

  /**
   * The median MFU in percent, NaN where it is not known. Records of earlier versions may hold
   * shares above 100, of a peak that was measured on a busy machine: those count as not known.
   */
  double mfu() {
    double median = median("MFU (%)");
    return median <= 100 ? median : Double.NaN;
  }

  boolean hasExperts() {
    return !history.expertLoad().isEmpty();
  }
}
