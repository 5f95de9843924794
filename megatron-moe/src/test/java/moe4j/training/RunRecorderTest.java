package moe4j.training;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;

import java.util.List;
import java.util.Map;
import moe4j.record.ExpertLoad;
import moe4j.training.step.StepMetrics;
import org.testng.annotations.Test;

public class RunRecorderTest {

  private static StepMetrics.Reading reading(
      Map<Integer, List<Long>> loads, Map<Integer, Long> routed) {
    return new StepMetrics.Reading(
        Map.of("lm loss", 2.0, "z_loss", 0.3),
        Map.of("z_loss", Map.of(1, 0.2, 3, 0.4)),
        Map.of("router entropy", Map.of(1, 0.7, 3, 1.1), "spread", Map.of(0, 5.0, 3, 6.0)),
        4,
        0,
        0,
        loads,
        routed);
  }

  /** Layers need not ask for as many rows as each other. */
  @Test
  public void aLayersLoadHoldsWhatIsItsOwn() {
    StepMetrics.Reading reading =
        reading(Map.of(1, List.of(3L, 5L), 3, List.of(10L, 6L, 2L)), Map.of(1, 8L, 3, 25L));
    List<ExpertLoad.Layer> layers = RunRecorder.load(reading).layers();
    assertEquals(layers.size(), 2);
    for (ExpertLoad.Layer layer : layers) {
      assertEquals(
          layer,
          layer.layer() == 1
              ? new ExpertLoad.Layer(
                  1, List.of(3L, 5L), 0, Map.of("z_loss", 0.2), Map.of("router entropy", 0.7))
              : new ExpertLoad.Layer(
                  3,
                  List.of(10L, 6L, 2L),
                  7,
                  Map.of("z_loss", 0.4),
                  Map.of("router entropy", 1.1, "spread", 6.0)));
    }
  }

  @Test
  public void withoutExpertsThereIsNoLoad() {
    assertNull(RunRecorder.load(reading(Map.of(), Map.of())));
  }
}
