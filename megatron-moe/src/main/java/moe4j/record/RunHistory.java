package moe4j.record;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A run as its {@code metrics.jsonl} tells it.
 *
 * @param directory where the file lies
 * @param config the last configuration written: a resumed run's own
 * @param train a point a log interval, by step
 * @param validation evaluations in the course of training and at its end, by step
 * @param test evaluations on the test set
 * @param expertLoad the experts' load, a point a log interval; empty without experts
 * @param end why the run ended; nothing for one that still goes on or was killed
 */
public record RunHistory(
    Path directory,
    RunDescription config,
    List<Point> train,
    List<Point> validation,
    List<Point> test,
    List<LoadPoint> expertLoad,
    Optional<String> end) {

  /** Copies the lists. */
  public RunHistory {
    train = List.copyOf(train);
    validation = List.copyOf(validation);
    test = List.copyOf(test);
    expertLoad = List.copyOf(expertLoad);
  }

  /**
   * How far a run had come.
   *
   * @param step steps done
   * @param consumedSamples sequences trained on
   * @param tokens tokens trained on
   * @param wallSeconds time spent, over all the sessions of a resumed run
   */
  public record Moment(int step, long consumedSamples, long tokens, double wallSeconds) {}

  /** Measured values by the keys of the log line. */
  public record Point(Moment at, Map<String, Double> values) {

    /** One value, NaN where it was not measured. */
    public double value(String key) {
      return values.getOrDefault(key, Double.NaN);
    }

    /** The language model's loss, NaN where it was not recorded. */
    public double loss() {
      return value(IterationRecord.LM_LOSS);
    }
  }

  /** The experts' load over the log interval that ended here. */
  public record LoadPoint(Moment at, ExpertLoad load) {}

  /** The load over several points, at least one. */
  public static ExpertLoad together(List<LoadPoint> points) {
    return ExpertLoad.together(points.stream().map(LoadPoint::load).toList());
  }

  /** How far the run has come. */
  public Moment last() {
    Moment last = new Moment(0, 0, 0, 0);
    for (List<Point> points : List.of(train, validation, test)) {
      for (Point point : points) {
        last = point.at().wallSeconds() > last.wallSeconds() ? point.at() : last;
      }
    }
    return last;
  }

  /** The last loss on the validation set. */
  public Optional<Double> finalValidationLoss() {
    return validation.isEmpty()
        ? Optional.empty()
        : Optional.of(validation.get(validation.size() - 1).loss());
  }
}
