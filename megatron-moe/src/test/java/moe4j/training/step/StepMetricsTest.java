package moe4j.training.step;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import moe4j.tensor.Scopes;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
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
  public void nothingIsLeftBehind() {
    try (Device cpu = new Device("cpu")) {
      long before = Scopes.livePointers();
      for (int i = 0; i < 3; i++) {
        StepMetrics each = new StepMetrics(cpu, MICRO_BATCHES);
        each.close();
      }
      assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
    }
  }

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
    assertEquals(reading.routed(), Map.of(1, 64L, 3, 64L));
  }

  /** What padding has not asked for was not dropped. */
  @Test
  public void paddingAsksForNothing() {
    for (int interval = 0; interval < 2; interval++) {
      for (int i = 0; i < MICRO_BATCHES; i++) {
        Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
        Tensor unasked = Tensors.of(new long[] {2 + i}).sum();
        pass.addLoad(new Pass.ExpertLoad(1, Tensors.of(new long[] {3, 2}), 8, unasked));
        pass.addLoad(new Pass.ExpertLoad(2, Tensors.of(new long[] {3, 5}), 8));
        metrics.addMicroBatch(scalar(1), scalar(1), pass);
        metrics.countMicroBatch();
      }
      metrics.endStep(scalar(0));
      long asked = 0;
      for (int i = 0; i < MICRO_BATCHES; i++) {
        asked += 8 - (2 + i);
      }
      assertEquals(metrics.read().routed(), Map.of(1, asked, 2, 8L * MICRO_BATCHES));
      metrics.reset();
    }
  }

  /** As of a layer that is computed twice. */
  @Test
  public void aLayerMayLeaveTwoLoads() {
    Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
    for (long count : new long[] {3, 10}) {
      Tensor tokens = Tensors.of(new long[] {count, 2 * count});
      pass.addLoad(new Pass.ExpertLoad(1, tokens, 8, Tensors.of(new long[] {count}).sum()));
    }
    metrics.addMicroBatch(scalar(1), scalar(1), pass);
    metrics.countMicroBatch();
    StepMetrics.Reading reading = metrics.read();
    assertEquals(reading.loads(), Map.of(1, List.of(13L, 26L)));
    assertEquals(reading.routed(), Map.of(1, 16L - 13L));
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
    assertEquals(reading.routed(), Map.of(1, 16L, 3, 16L));
  }

  /** Each layer's losses and figures are its own, whatever the order they are left in. */
  @Test
  public void whatLayersLeaveIsSummedByLayer() {
    int steps = 3;
    double[][] z = new double[steps * MICRO_BATCHES][LAYERS.size()];
    double[][] entropy = new double[steps * MICRO_BATCHES][LAYERS.size()];
    double[] extra = new double[steps * MICRO_BATCHES];
    for (int step = 0; step < steps; step++) {
      boolean skipped = step == 1;
      for (int i = 0; i < MICRO_BATCHES; i++) {
        int n = step * MICRO_BATCHES + i;
        Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
        for (int l = LAYERS.size() - 1; l >= 0; l--) {
          z[n][l] = skipped ? Double.NaN : random.nextGaussian();
          entropy[n][l] = skipped ? Double.POSITIVE_INFINITY : random.nextGaussian();
          pass.addLoss(new Pass.SideLoss("z_loss", LAYERS.get(l), scalar(z[n][l]), 0.1));
          pass.addFigure(new Pass.Figure("router entropy", LAYERS.get(l), scalar(entropy[n][l])));
        }
        // A second one of the same name and layer, and a figure of one layer only.
        extra[n] = random.nextDouble();
        pass.addLoss(new Pass.SideLoss("z_loss", 3, scalar(extra[n]), 0.1));
        pass.addFigure(new Pass.Figure("spread", 3, scalar(extra[n])));
        metrics.addMicroBatch(scalar(TOKENS), scalar(TOKENS), pass);
        metrics.countMicroBatch();
      }
      metrics.endStep(scalar(skipped ? 1 : 0));
    }
    StepMetrics.Reading reading = metrics.read();
    double[] zMean = new double[2];
    double[] entropyMean = new double[2];
    double extraMean = 0;
    for (int n : new int[] {0, 1, 4, 5}) {
      for (int l = 0; l < 2; l++) {
        zMean[l] += z[n][l] / 4;
        entropyMean[l] += entropy[n][l] / 4;
      }
      extraMean += extra[n] / 4;
    }
    assertEquals(reading.lossesByLayer().keySet(), Set.of("z_loss"));
    Map<Integer, Double> losses = reading.lossesByLayer().get("z_loss");
    assertEquals(losses.keySet(), Set.copyOf(LAYERS));
    assertEquals(losses.get(1), zMean[0], 1e-6);
    assertEquals(losses.get(3), zMean[1] + extraMean, 1e-6);
    assertEquals(reading.losses().get("z_loss"), (zMean[0] + zMean[1] + extraMean) / 2, 1e-6);
    assertEquals(List.copyOf(reading.figures().keySet()), List.of("router entropy", "spread"));
    assertEquals(reading.figures().get("router entropy").get(1), entropyMean[0], 1e-6);
    assertEquals(reading.figures().get("router entropy").get(3), entropyMean[1], 1e-6);
    assertEquals(reading.figures().get("spread").keySet(), Set.of(3));
    assertEquals(reading.figures().get("spread").get(3), extraMean, 1e-6);
    Map<String, Double> means = reading.meanFigures();
    assertEquals(means.get("router entropy"), (entropyMean[0] + entropyMean[1]) / 2, 1e-6);
    assertEquals(means.get("spread"), extraMean, 1e-6);
    metrics.reset();
    assertEquals(metrics.read().figures(), Map.of());
  }

  /** A sum of some layers would be divided as if it were of all. */
  @Test
  public void otherLayersThanBeforeAreRefused() {
    step(1, 1, false);
    Pass pass = Pass.training(new StepRandom(1, 0, 0, 1));
    pass.addLoss(new Pass.SideLoss("z_loss", 3, scalar(1), 0.1));
    assertEquals(
        expectThrows(
                IllegalStateException.class,
                () -> metrics.addMicroBatch(scalar(TOKENS), scalar(TOKENS), pass))
            .getMessage(),
        "layers [1, 3] left a 'z_loss' in the first micro-batch, layers [3] in this one: a layer"
            + " leaves it in each or in none");
  }

  /** A reading holds numbers, and the sums are as many native objects however long a run is. */
  @Test
  public void stepsHoldNoNativeMemory() {
    long[] live = new long[3];
    for (int i = 0; i < live.length; i++) {
      try (PointerScope inner = new PointerScope()) {
        step(1, 2, false);
        metrics.read();
        metrics.reset();
      }
      live[i] = Scopes.livePointers();
    }
    assertEquals(live[2], live[1]);
  }
}
