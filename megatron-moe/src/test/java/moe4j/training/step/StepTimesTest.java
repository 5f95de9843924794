package moe4j.training.step;

import static org.testng.Assert.assertEquals;

import moe4j.model.TrainState;
import org.testng.annotations.Test;

public class StepTimesTest {

  /** An interval of so many steps that ends with one. */
  private static void interval(StepTimes times, int last, int steps, double secondsPerStep) {
    TrainState state = new TrainState(last, 4L * last, 0, 0);
    times.interval(
        new TrainingListener.Interval(
            state, null, steps, secondsPerStep * steps, 0, 1.0, null, null));
  }

  @Test
  public void ofAnOddNumberTheMiddleCounts() {
    StepTimes times = new StepTimes(1, 1);
    double[] seconds = {0.5, 0.25, 4};
    for (int i = 0; i < seconds.length; i++) {
      interval(times, 2 + i, 1, seconds[i]);
    }
    assertEquals(
        times.summary(1000),
        "step time: median 500.0 ms, 250.0 to 4000.0 over 3 figures | 2000 tokens/s");
  }

  @Test
  public void ofAnEvenNumberTheMeanOfTheMiddleTwo() {
    StepTimes times = new StepTimes(1, 1);
    double[] seconds = {0.3, 9, 0.1, 0.2};
    for (int i = 0; i < seconds.length; i++) {
      interval(times, 2 + i, 1, seconds[i]);
    }
    assertEquals(
        times.summary(1000),
        "step time: median 250.0 ms, 100.0 to 9000.0 over 4 figures | 4000 tokens/s");
  }

  @Test
  public void oneIsItsOwnMedian() {
    StepTimes times = new StepTimes(1, 1);
    interval(times, 2, 1, 0.02);
    assertEquals(
        times.summary(32),
        "step time: median 20.0 ms, 20.0 to 20.0 over 1 figures | 1600 tokens/s");
  }

  /** Its time is a step's; one that begins within the warm-up does not count. */
  @Test
  public void intervalsOfSeveralSteps() {
    StepTimes times = new StepTimes(10, 1);
    interval(times, 1, 1, 70);
    interval(times, 8, 7, 60);
    interval(times, 13, 5, 50);
    assertEquals(times.summary(10), "no step was timed");
    interval(times, 18, 8, 1);
    interval(times, 26, 8, 2);
    interval(times, 28, 2, 3);
    assertEquals(
        times.summary(10),
        "step time: median 2000.0 ms, 1000.0 to 3000.0 over 3 figures | 5 tokens/s");
  }
}
