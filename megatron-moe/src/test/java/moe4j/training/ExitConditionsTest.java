package moe4j.training;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;

import java.util.concurrent.TimeUnit;
import moe4j.config.Flags;
import moe4j.config.Refusals;
import moe4j.config.TrainingConfig;
import moe4j.parallel.World;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class ExitConditionsTest {
  private String signal;
  private long now;

  /** A clock's zero is anywhere, and it may wrap. */
  @BeforeMethod
  public void begin() {
    signal = null;
    now = Long.MAX_VALUE - TimeUnit.SECONDS.toNanos(90);
  }

  private ExitConditions conditions(String flags) {
    return new ExitConditions(
        Flags.parse(
            TrainingConfig.class,
            Refusals.words("--micro-batch-size 1 --train-iters 100 " + flags)),
        () -> signal,
        () -> now);
  }

  @Test
  public void stopsAfterMinutes() {
    ExitConditions exit = conditions("--exit-duration-in-mins 2");
    assertNull(exit.reason(1, World.alone()));
    now += TimeUnit.MINUTES.toNanos(2);
    assertNull(exit.reason(2, World.alone()));
    now++;
    assertEquals(exit.reason(3, World.alone()).reason(), "--exit-duration-in-mins 2");
    assertEquals(exit.reason(4, World.alone()).reason(), "--exit-duration-in-mins 2");
  }

  /** More nanoseconds than a long has. */
  @Test
  public void manyMinutesNeverPass() {
    ExitConditions exit = conditions("--exit-duration-in-mins 2147483647");
    now += TimeUnit.DAYS.toNanos(1000);
    assertNull(exit.reason(1, World.alone()));
  }

  @Test
  public void stopsAtSteps() {
    ExitConditions exit = conditions("--exit-interval 3");
    assertNull(exit.reason(2, World.alone()));
    assertEquals(exit.reason(3, World.alone()).reason(), "--exit-interval 3");
    assertNull(exit.reason(4, World.alone()));
    assertEquals(exit.reason(6, World.alone()).reason(), "--exit-interval 3");
  }

  @Test
  public void stopsOnSigterm() {
    ExitConditions exit = conditions("--exit-interval 3");
    assertNull(exit.reason(1, World.alone()));
    signal = "TERM";
    assertEquals(exit.reason(2, World.alone()), new ExitConditions.Stop("SIGTERM", 143));
    assertEquals(exit.reason(3, World.alone()), new ExitConditions.Stop("SIGTERM", 143));
  }

  @Test
  public void goesOnWithoutConditions() {
    ExitConditions exit = conditions("");
    now += TimeUnit.DAYS.toNanos(1000);
    assertNull(exit.reason(99, World.alone()));
  }
}
