package moe4j.training;

import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.LongSupplier;
import moe4j.parallel.World;

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

  /**
   * Why the run stops behind a step, or null where it goes on. All ranks ask and get the same:
   * where one is to stop, or its clock says so, all do.
   */
  String reason(int iteration, World world) {
    Integer minutes = training.exitDurationInMins();
    boolean over =
        minutes != null && nanoTime.getAsLong() - begin > TimeUnit.MINUTES.toNanos(minutes);
    long[] any = world.max(terminated.getAsBoolean() ? world.rank() + 1 : 0, over ? 1 : 0);
    if (any[0] > 0) {
      return world.isAlone() ? "SIGTERM" : "SIGTERM to rank " + (any[0] - 1);
    }
    if (any[1] > 0) {
      return "--exit-duration-in-mins " + minutes;
    }
    Integer interval = training.exitInterval();
    return interval != null && iteration % interval == 0 ? "--exit-interval " + interval : null;
  }
}
