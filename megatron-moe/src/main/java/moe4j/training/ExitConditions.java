package moe4j.training;

import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import moe4j.config.TrainingConfig;
import moe4j.parallel.World;

/** When a run stops before its last step: on a signal, after a time, at a step. */
final class ExitConditions {
  /** In the order of which the ranks agree on one of several. */
  private static final List<String> SIGNALS = List.of("HUP", "TERM", "INT");

  private final TrainingConfig training;
  private final Supplier<String> signal;
  private final LongSupplier nanoTime;
  private final long begin;

  /**
   * Why a run stops.
   *
   * @param reason in the words of the log
   * @param status the status of a process that has kept nothing of it
   */
  record Stop(String reason, int status) {}

  /**
   * Conditions of a run that begins now.
   *
   * @param signal the signal that has come, or null
   * @param nanoTime as {@link System#nanoTime}
   */
  ExitConditions(TrainingConfig training, Supplier<String> signal, LongSupplier nanoTime) {
    this.training = training;
    this.signal = signal;
    this.nanoTime = nanoTime;
    this.begin = nanoTime.getAsLong();
  }

  /**
   * Why the run stops behind a step, or null where it goes on. All ranks ask and get the same:
   * where one is to stop, or its clock says so, all do.
   */
  Stop reason(int iteration, World world) {
    Integer minutes = training.exitDurationInMins();
    boolean over =
        minutes != null && nanoTime.getAsLong() - begin > TimeUnit.MINUTES.toNanos(minutes);
    long[] any = world.max(told(world), over ? 1 : 0);
    if (any[0] > 0) {
      return signalled(any[0], world);
    }
    if (any[1] > 0) {
      return new Stop("--exit-duration-in-mins " + minutes, 0);
    }
    Integer interval = training.exitInterval();
    return interval != null && iteration % interval == 0
        ? new Stop("--exit-interval " + interval, 0)
        : null;
  }

  /** Why the run stops amid something long: a signal, or null. All ranks ask and get the same. */
  Stop signalled(World world) {
    long any = world.max(told(world))[0];
    return any > 0 ? signalled(any, world) : null;
  }

  /** A number that is the larger the lower the rank is; 0 where no signal has come. */
  private long told(World world) {
    String name = signal.get();
    return name == null
        ? 0
        : (long) (world.size() - world.rank()) * SIGNALS.size() + SIGNALS.indexOf(name);
  }

  private static Stop signalled(long told, World world) {
    String name = SIGNALS.get((int) (told % SIGNALS.size()));
    long rank = world.size() - told / SIGNALS.size();
    return new Stop(
        "SIG" + name + (world.isAlone() ? "" : " to rank " + rank), ShutdownSignal.status(name));
  }
}
