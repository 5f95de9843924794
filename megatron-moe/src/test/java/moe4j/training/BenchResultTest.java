package moe4j.training;

import static org.testng.Assert.assertEquals;

import moe4j.model.TrainState;
import moe4j.record.Peak;
import moe4j.training.step.StepTimes;
import moe4j.training.step.TrainingListener;
import org.testng.annotations.Test;

public class BenchResultTest {

  private static BenchResult result(String name, double... seconds) {
    StepTimes times = new StepTimes(1, 1);
    for (int i = 0; i < seconds.length; i++) {
      TrainState state = new TrainState(20 + 10 * i, 0, 0, 0);
      times.interval(
          new TrainingListener.Interval(state, null, 10, 10 * seconds[i], 0, 1.0, null, null));
    }
    return new BenchResult(
        name, times, 1000, 50e12, new Peak("a GPU bf16", 1e15), 3L << 29, 2L << 30);
  }

  @Test
  public void inALine() {
    assertEquals(
        result("graph", 0.2, 0.1, 0.3).toString(),
        "graph: step time: median 200.0 ms, 100.0 to 300.0 over 3 figures | 5000 tokens/s"
            + " | 250.0 TFLOP/s | MFU 25.0% of 1000.0 TFLOP/s (a GPU bf16)"
            + " | memory max allocated 1.50 GiB, reserved 2.00 GiB");
    assertEquals(result("none").toString(), "none: no step was timed");
  }

  @Test
  public void compared() {
    assertEquals(
        result("graph", 0.1).against(result("eager", 0.25)),
        "graph is 2.50 times as fast as eager");
  }
}
