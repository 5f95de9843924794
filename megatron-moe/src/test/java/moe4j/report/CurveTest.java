package moe4j.report;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.List;
import java.util.Random;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import moe4j.report.Curve.Kind;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class CurveTest {

  private static Curve curve(int points, java.util.function.IntToDoubleFunction y) {
    List<Integer> indices = IntStream.range(0, points).boxed().toList();
    return Curve.of("c", 0, Kind.RAW, indices, i -> i, i -> y.applyAsDouble(i));
  }

  @Test
  public void smoothingKeepsALineAndQuietensNoise() {
    Curve line = curve(500, i -> 3 - 0.01 * i).smoothed();
    for (int i = 0; i < 500; i++) {
      assertEquals(line.y().get(i), 3 - 0.01 * i, 1e-9);
    }
    Random random = Seeds.random(CurveTest.class);
    Curve noise = curve(2000, i -> random.nextGaussian());
    double before = noise.y().stream().mapToDouble(v -> v * v).sum();
    double after = noise.smoothed().y().stream().mapToDouble(v -> v * v).sum();
    assertTrue(after < before / 20, before + " to " + after);
    assertEquals(curve(20, i -> i * i).smoothed().y(), curve(20, i -> i * i).y());
  }

  @Test
  public void thinningKeepsSpikes() {
    Curve spikes = curve(100_000, i -> i == 43_210 ? 99 : i == 77_777 ? -99 : i % 7).thinned();
    assertEquals(spikes.size(), 1000);
    assertTrue(spikes.y().contains(99.0));
    assertTrue(spikes.y().contains(-99.0));
    assertEquals(spikes.x().stream().sorted().toList(), spikes.x());
  }

  @Test
  public void whatIsNoNumberIsLeftOut() {
    assertEquals(
        curve(4, i -> i == 2 ? Double.NaN : i).x(), DoubleStream.of(0, 1, 3).boxed().toList());
  }

  @Test
  public void axes() {
    Axis axis = Axis.around(0, 437, 6);
    assertEquals(axis.ticks(), List.of(0.0, 100.0, 200.0, 300.0, 400.0));
    assertEquals(axis.at(437 / 2.0), 0.5);
    Axis millions = Axis.around(0, 2.4e6, 6);
    assertEquals(
        millions.ticks().stream().map(millions::label).toList(),
        List.of("0", "0.5M", "1M", "1.5M", "2M"));
    Axis rates = Axis.around(0, 3e-4, 3);
    assertEquals(
        rates.ticks().stream().map(rates::label).toList(), List.of("0", "1e-4", "2e-4", "3e-4"));
    Axis flat = Axis.around(2, 2, 5);
    assertTrue(flat.min() < 2 && flat.max() > 2);
  }
}
