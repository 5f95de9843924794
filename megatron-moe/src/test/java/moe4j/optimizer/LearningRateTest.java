package moe4j.optimizer;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import moe4j.config.Flags;
import moe4j.config.Refusals;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What Megatron's own values do not show: they are in the tests of golden values. */
public class LearningRateTest {
  private static LearningRate schedule(String flags, int batch, Integer iters, Long samples) {
    OptimizerConfig config =
        Flags.parse(
            OptimizerConfig.class, Refusals.words(("--lr 1e-3 --min-lr 1e-5 " + flags).strip()));
    return new LearningRate(config, batch, iters, samples);
  }

  @DataProvider
  public Object[][] styles() {
    return new Object[][] {
      {"--lr-decay-style linear"},
      {"--lr-decay-style cosine"},
      {"--lr-decay-style inverse-square-root"},
      {"--lr-decay-style WSD --lr-wsd-decay-samples 300"},
      {"--lr-decay-style WSD --lr-wsd-decay-samples 300 --lr-wsd-decay-style minus_sqrt"},
    };
  }

  /** Up to the warm-up's end it rises, then it never does, and it stays within its bounds. */
  @Test(dataProvider = "styles")
  public void risesThenFalls(String style) {
    LearningRate rate = schedule(style + " --lr-warmup-samples 100", 1, null, 1000L);
    assertEquals(rate.at(0), 0.0);
    assertEquals(rate.at(50), 0.5e-3, 1e-18);
    assertEquals(rate.at(100), 1e-3);
    for (long n = 1; n <= 1200; n++) {
      double step = rate.at(n) - rate.at(n - 1);
      assertTrue(n <= 100 ? step > 0 : step <= 1e-18, "at " + n);
      assertTrue(rate.at(n) <= 1e-3 && (n <= 100 || rate.at(n) >= 1e-5), "at " + n);
    }
    assertEquals(rate.at(1001), 1e-5);
    assertEquals(rate.at(Long.MAX_VALUE), 1e-5);
  }

  @Test
  public void aShareIsNotRounded() {
    // 0.137 of 100 samples: between 13 and 14.
    LearningRate rate = schedule("--lr-warmup-fraction 0.137", 4, 25, null);
    assertEquals(rate.at(12), 1e-3 * 12 / 13.7, 1e-15);
    assertEquals(rate.at(13), 1e-3 * 13 / 13.7, 1e-15);
    assertTrue(rate.at(14) < 1e-3);
    assertEquals(schedule("--lr-warmup-fraction 0", 4, 25, null).at(0), 1e-3);
  }

  @Test
  public void beyondAnInt() {
    LearningRate rate = schedule("--lr-warmup-iters 1000000", 4096, 2_000_000_000, null);
    assertEquals(rate.at(4096L * 500_000), 0.5e-3, 1e-15);
    double middle = rate.at(4096L * 1_000_500_000);
    assertEquals(middle, (1e-3 + 1e-5) / 2, 1e-9);
  }

  @Test
  public void warmUpAsLongAsTheDecayIsRefused() {
    assertEquals(
        expectThrows(
                IllegalArgumentException.class, () -> schedule("--lr-warmup-iters 25", 4, 25, null))
            .getMessage(),
        "--lr-warmup-iters 25: the warm-up leaves nothing of the 25 iterations of the learning"
            + " rate's schedule (--train-iters)");
    assertEquals(
        expectThrows(
                IllegalArgumentException.class,
                () -> schedule("--lr-warmup-samples 70 --lr-decay-samples 60", 4, null, 100L))
            .getMessage(),
        "--lr-warmup-samples 70: the warm-up leaves nothing of the 60 samples of the learning"
            + " rate's schedule (--lr-decay-samples)");
  }

  /** It would begin in the middle of its fall. */
  @Test
  public void aLastPartThatIsLongerThanTheRunIsRefused() {
    String wsd = "--lr-decay-style WSD ";
    assertEquals(
        expectThrows(
                IllegalArgumentException.class,
                () -> schedule(wsd + "--lr-wsd-decay-iters 101", 4, 100, null))
            .getMessage(),
        "--lr-wsd-decay-iters 101: the decay at the end would begin before the warm-up's end, of"
            + " the 100 iterations of the learning rate's schedule (--train-iters) and a warm-up"
            + " of 0");
    assertEquals(
        expectThrows(
                IllegalArgumentException.class,
                () ->
                    schedule(
                        wsd + "--lr-wsd-decay-samples 91 --lr-warmup-samples 10", 4, null, 100L))
            .getMessage(),
        "--lr-wsd-decay-samples 91: the decay at the end would begin before the warm-up's end, of"
            + " the 100 samples of the learning rate's schedule (--train-samples) and a warm-up of"
            + " 10");
    assertEquals(schedule(wsd + "--lr-wsd-decay-iters 100", 4, 100, null).at(0), 1e-3, 1e-15);
    LearningRate rate =
        schedule(wsd + "--lr-wsd-decay-samples 90 --lr-warmup-samples 10", 4, null, 100L);
    assertEquals(rate.at(10), 1e-3, 1e-15);
    // A schedule may be longer than the run, which is then a part of it.
    schedule(wsd + "--lr-wsd-decay-iters 150 --lr-decay-iters 200", 4, 100, null).at(0);
  }
}
