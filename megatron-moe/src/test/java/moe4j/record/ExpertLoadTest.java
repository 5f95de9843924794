package moe4j.record;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.testng.annotations.Test;

public class ExpertLoadTest {

  @Test
  public void threeFigures() {
    ExpertLoad.Layer skewed = new ExpertLoad.Layer(1, List.of(6L, 2L, 0L, 0L), 2);
    assertEquals(skewed.maxOverMean(), 3.0);
    // Loads over the mean are 3, 1, 0, 0: variance (4 + 0 + 1 + 1) / 4.
    assertEquals(skewed.cv(), Math.sqrt(1.5), 1e-12);
    assertEquals(skewed.droppedShare(), 0.2);
    ExpertLoad.Layer balanced = new ExpertLoad.Layer(3, List.of(5L, 5L, 5L, 5L), 0);
    assertEquals(
        new ExpertLoad(List.of(skewed, balanced)).summary(),
        new ExpertLoad.Summary(2.0, Math.sqrt(1.5) / 2, 0.1));
  }

  @Test
  public void whatAGateLeavesKeepsItsOrderAndIsACopy() {
    Map<String, Double> losses = new LinkedHashMap<>();
    losses.put("z_loss", 0.5);
    losses.put("a_loss", 1.5);
    ExpertLoad.Layer layer =
        new ExpertLoad.Layer(0, List.of(1L), 0, losses, Map.of("entropy", 2.0));
    losses.clear();
    assertEquals(List.copyOf(layer.losses().keySet()), List.of("z_loss", "a_loss"));
    assertEquals(layer.figures(), Map.of("entropy", 2.0));
    assertThrows(UnsupportedOperationException.class, () -> layer.losses().clear());
  }

  @Test
  public void intervalsTogether() {
    ExpertLoad.Layer first =
        new ExpertLoad.Layer(
            3, List.of(6L, 2L), 1, Map.of("z_loss", 0.5), Map.of("entropy", 1.0, "early", 4.0));
    ExpertLoad.Layer second =
        new ExpertLoad.Layer(3, List.of(1L, 5L), 2, Map.of("z_loss", 1.0), Map.of("entropy", 2.0));
    ExpertLoad.Layer third =
        new ExpertLoad.Layer(
            3, List.of(0L, 1L), 0, Map.of("z_loss", Double.NaN), Map.of("entropy", 6.0));
    assertEquals(
        ExpertLoad.together(
            List.of(
                new ExpertLoad(List.of(first)),
                new ExpertLoad(List.of(second)),
                new ExpertLoad(List.of(third)))),
        new ExpertLoad(
            List.of(
                new ExpertLoad.Layer(
                    3,
                    List.of(7L, 8L),
                    3,
                    Map.of("z_loss", 0.75),
                    Map.of("entropy", 3.0, "early", 4.0)))));
  }

  @Test
  public void nothingRouted() {
    ExpertLoad load = new ExpertLoad(List.of(new ExpertLoad.Layer(0, List.of(0L, 0L), 0)));
    assertEquals(load.summary(), new ExpertLoad.Summary(0, 0, 0));
    assertThrows(IllegalArgumentException.class, () -> new ExpertLoad(List.of()));
    assertThrows(
        IllegalArgumentException.class, () -> new ExpertLoad.Layer(0, List.of(1L, -1L), 0));
  }
}
