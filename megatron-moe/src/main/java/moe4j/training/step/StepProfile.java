package moe4j.training.step;

import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;
import moe4j.config.LoggingConfig;
import moe4j.kernels.cuda.KernelProfile;

/**
 * {@code --profile}: a table of the kernels in the steps of a run from {@code --profile-step-start}
 * (inclusive) to {@code --profile-step-end} (exclusive), counted from 0 as Megatron does. The loop
 * calls it around each step.
 */
public final class StepProfile implements AutoCloseable {

  /** A recording that has begun. */
  interface Recording extends AutoCloseable {
    /** Ends it: its table for so many steps. */
    List<String> stop(int steps);

    @Override
    void close();
  }

  private final int start;
  private final int end;
  private final Supplier<Recording> recorder;
  private final Consumer<String> out;
  private Recording recording;
  private int first;
  private int last;

  StepProfile(int start, int end, Supplier<Recording> recorder, Consumer<String> out) {
    this.start = start;
    this.end = end;
    this.recorder = recorder;
    this.out = out;
  }

  /**
   * What the flags ask for; without {@code --profile} it does nothing. To be made before the step
   * is captured as a graph.
   *
   * @param out is given the table's lines
   * @throws IllegalStateException in one sentence, where CUPTI is missing or refuses
   */
  public static StepProfile of(LoggingConfig logging, Consumer<String> out) {
    if (!logging.profile()) {
      return new StepProfile(0, 0, null, out);
    }
    KernelProfile.prepare();
    return new StepProfile(
        logging.profileStepStart(), logging.profileStepEnd(), StepProfile::record, out);
  }

  private static Recording record() {
    KernelProfile profile = KernelProfile.start();
    return new Recording() {
      @Override
      public List<String> stop(int steps) {
        return profile.stop().lines(steps);
      }

      @Override
      public void close() {
        profile.close();
      }
    };
  }

  /**
   * A step is about to be taken; where it is the first to be recorded, the device is waited for.
   *
   * @param iteration steps taken so far
   */
  public void beforeStep(int iteration) {
    if (recording == null && start <= iteration && iteration < end) {
      recording = recorder.get();
      first = iteration;
      last = iteration;
    }
  }

  /**
   * A step was taken; where it was the last to be recorded, the device is waited for.
   *
   * @param iteration steps taken so far, this one among them
   */
  public void afterStep(int iteration) {
    if (recording != null) {
      last = iteration;
      if (iteration >= end) {
        finish();
      }
    }
  }

  private void finish() {
    try (Recording ended = recording) {
      recording = null;
      out.accept("profile of iterations %d to %d:".formatted(first + 1, last));
      ended.stop(last - first).forEach(out);
    }
  }

  /** Ends a recording that the end of the run cut short, with the table of the steps it has. */
  @Override
  public void close() {
    if (recording != null && last > first) {
      finish();
    } else if (recording != null) {
      recording.close();
      recording = null;
    }
  }
}
