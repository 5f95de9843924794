package moe4j.training.step;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import moe4j.model.TrainState;

/** Seconds a step, one figure for each whole log interval that begins behind the warm-up. */
public final class StepTimes implements TrainingListener {
  private final int warmup;
  private final int logInterval;
  private final List<Double> seconds = new ArrayList<>();

  /**
   * Figures of the intervals behind so many steps.
   *
   * @param logInterval steps a whole interval
   */
  public StepTimes(int warmup, int logInterval) {
    this.warmup = warmup;
    this.logInterval = logInterval;
  }

  @Override
  public void interval(Interval interval) {
    int iteration = interval.state().iteration();
    if (iteration % logInterval == 0 && iteration - interval.timed() >= warmup) {
      seconds.add(interval.seconds() / interval.timed());
    }
  }

  /** The number of times. */
  public int figures() {
    return seconds.size();
  }

  /** Seconds a step; not a number where none was timed. */
  public double median() {
    List<Double> sorted = seconds.stream().sorted().toList();
    int n = sorted.size();
    return n == 0 ? Double.NaN : (sorted.get((n - 1) / 2) + sorted.get(n / 2)) / 2;
  }

  /** The median of the figures, the range they lie in, and what it comes to in tokens. */
  public String summary(long tokensPerStep) {
    if (seconds.isEmpty()) {
      return "no step was timed";
    }
    List<Double> sorted = seconds.stream().sorted().toList();
    int n = sorted.size();
    double median = median();
    return String.format(
        Locale.ROOT,
        "step time: median %.1f ms, %.1f to %.1f over %d figures | %.0f tokens/s",
        median * 1e3,
        sorted.get(0) * 1e3,
        sorted.get(n - 1) * 1e3,
        n,
        tokensPerStep / median);
  }

  @Override
  public void validation(Validation validation) {}

  @Override
  public void saved(TrainState state, String directory) {}

  @Override
  public void say(String sentence) {}
}
