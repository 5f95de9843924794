package moe4j.training.step;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import moe4j.record.Peak;
import moe4j.testing.Seeds;
import org.testng.annotations.Test;

public class DevicePeakTest {
  private long nanos = 5;

  private void pass(long seconds) {
    nanos += TimeUnit.SECONDS.toNanos(seconds);
  }

  private DevicePeak peak(Deque<Double> measurements) {
    return DevicePeak.measured("made up", measurements::remove, () -> nanos);
  }

  /** What was measured while others had the cores is measured again, and the best counts. */
  @Test
  public void aBusyStartIsMended() {
    Deque<Double> measurements = new ArrayDeque<>(List.of(100.0, 400.0, 90.0, 500.0));
    DevicePeak peak = peak(measurements);
    assertEquals(peak.above(60).orElseThrow().flops(), 100.0, "not measured at every interval");
    assertEquals(peak.above(153).orElseThrow().flops(), 400.0, "a rate that beats it");
    pass(100);
    assertEquals(peak.above(60).orElseThrow().flops(), 400.0, "the best, not the last");
    pass(1);
    assertEquals(peak.above(60).orElseThrow().flops(), 400.0);
    assertEquals(measurements.size(), 1);
    pass(30);
    assertEquals(peak.above(60).orElseThrow().flops(), 500.0);
  }

  /** No share of what is not known: the run goes on without one, and tries again. */
  @Test
  public void aRateAboveEverythingMeasuredHasNoShare() {
    DevicePeak peak = peak(new ArrayDeque<>(List.of(100.0, 120.0, 110.0)));
    assertTrue(peak.above(153).isEmpty());
    assertTrue(peak.above(121).isEmpty());
    assertEquals(peak.above(120).orElseThrow().flops(), 120.0);
  }

  @Test
  public void noShareIsAboveAHundredPercent() {
    Random random = Seeds.random(DevicePeakTest.class);
    DevicePeak peak = DevicePeak.measured("random", () -> 1 + random.nextInt(100), () -> nanos);
    for (int i = 0; i < 1000; i++) {
      double rate = 1 + random.nextInt(120);
      nanos += random.nextInt(1_000_000_000);
      peak.above(rate).ifPresent(p -> assertTrue(p.percent(rate) <= 100));
    }
    Peak hundred = new Peak("any", 100);
    assertEquals(hundred.percent(100), 100.0);
    assertFalse(hundred.covers(100.1));
    assertThrows(IllegalArgumentException.class, () -> hundred.percent(100.1));
  }
}
