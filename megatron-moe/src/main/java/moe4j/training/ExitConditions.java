package moe4j.training;

import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.LongSupplier;

/** When a run stops before its last step: on SIGTERM, after a time, at a step. */
final class ExitConditions {
  private final TrainingConfig training;
  private final BooleanSupplier terminated;
  private final LongSupplier nanoTime;
  private final long begin;

  /**
   * Conditions of a run that begins now.
   *
   * @param terminated whether SIGTERM has come
   * @param nanoTime as {@link System#nanoTime}
   */
  ExitConditions(TrainingConfig training, BooleanSupplier terminated, LongSupplier nanoTime) {
    this.training = training;
    this.terminated = terminated;
    this.nanoTime = nanoTime;
    this.begin = nanoTime.getAsLong();
  }

  /** Why the run stops behind a step, or null where it goes on. */
  String reason(int iteration) {
    if (terminated.getAsBoolean()) {
      return "SIGTERM";
    }
    Integer minutes = training.exitDurationInMins();
    if (minutes != null && nanoTime.getAsLong() - begin > TimeUnit.MINUTES.toNanos(minutes)) {
      return "--exit-duration-in-mins " + minutes;
    }
    Integer interval = training.exitInterval();
    return interval != null && iteration % interval == 0 ? "--exit-interval " + interval : null;
  }
}
