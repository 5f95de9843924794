package moe4j.training;

import static org.testng.Assert.assertEquals;

import java.util.List;
import java.util.Map;
import java.util.Random;
import moe4j.kernels.StepRandom;
import moe4j.kernels.Tensors;
import moe4j.testing.Seeds;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class StepMetricsTest {
  private static final int MICRO_BATCHES = 2;
  private static final float TOKENS = 4;
  private static final List<Integer> LAYERS = List.of(1, 3);

  private final Random random = Seeds.random(StepMetricsTest.class);
  private PointerScope scope;
  private StepMetrics metrics;

  @BeforeMethod
  public void open() {
    scope = new PointerScope();
    metrics = new StepMetrics(new Device("cpu"), MICRO_BATCHES);
  }

  @AfterMethod
  public void close() {
    metrics.close();
    scope.close();
  }

  private static Tensor scalar(double value) {
    return Tensors.of(new float[] {(float) value}, 1).select(0, 0);
  }

  /** A step of one loss everywhere, beside which each layer leaves a loss and a load. */
  private void step(double loss, double side, boolean skipped) {
    for (int i = 0; i < MICRO_BATCHES; i++) {
      Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
      for (int layer : LAYERS) {
        // The mean over layers and micro-batches is the value given.
        double share = layer == 1 ? 0.5 * side : 1.5 * side;
        pass.addLoss(new Pass.SideLoss("z_loss", layer, scalar(share), 0.1));
        pass.addLoad(new Pass.ExpertLoad(layer, Tensors.of(new long[] {3, 5}), 8));
      }
      metrics.addMicroBatch(scalar(TOKENS * loss), scalar(TOKENS), pass);
      metrics.countMicroBatch();
    }
    metrics.endStep(scalar(skipped ? 1 : 0));
  }

  /** What is not finite in a step that is skipped leaves the interval's averages as they are. */
  @Test
  public void aSkippedStepJoinsNoAverage() {
    double[] loss = {1 + random.nextDouble(), 1 + random.nextDouble()};
    double[] side = {1 + random.nextDouble(), 1 + random.nextDouble()};
    step(loss[0], side[0], false);
    step(Double.NaN, Double.NaN, true);
    step(2, Double.POSITIVE_INFINITY, true);
    step(loss[1], side[1], false);
    StepMetrics.Reading reading = metrics.read();
    assertEquals(reading.advanced(), 2);
    assertEquals(reading.skipped(), 2);
    assertEquals(reading.notFinite(), 1);
    assertEquals(List.copyOf(reading.losses().keySet()), List.of("lm loss", "z_loss"));
    assertEquals(reading.losses().get("lm loss"), (loss[0] + loss[1]) / 2, 1e-6);
    assertEquals(reading.losses().get("z_loss"), (side[0] + side[1]) / 2, 1e-6);
    assertEquals(reading.loads(), Map.of(1, List.of(24L, 40L), 3, List.of(24L, 40L)));
    assertEquals(reading.routed(), 128);
  }

  @Test
  public void theNextIntervalBeginsAtNothing() {
    step(3, 2, false);
    metrics.reset();
    step(Double.NaN, Double.NaN, true);
    assertEquals(metrics.read().losses(), Map.of());
    metrics.reset();
    step(5, 7, false);
    StepMetrics.Reading reading = metrics.read();
    assertEquals(reading.advanced(), 1);
    assertEquals(reading.skipped(), 0);
    assertEquals(reading.losses().get("lm loss"), 5, 1e-6);
    assertEquals(reading.losses().get("z_loss"), 7, 1e-6);
    assertEquals(reading.routed(), 32);
  }
}
