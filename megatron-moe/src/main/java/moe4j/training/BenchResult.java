package moe4j.training;

import java.util.Locale;
import moe4j.record.Peak;
import moe4j.training.step.StepTimes;

/**
 * What a run on a GPU came to.
 *
 * @param name what is told apart by it
 * @param times of its steps
 * @param tokens a step
 * @param flops floating-point operations of the model a step
 * @param peak what MFU is a share of
 * @param maxAllocated bytes that tensors took at most
 * @param maxReserved bytes that libtorch's allocator held at most
 */
record BenchResult(
    String name,
    StepTimes times,
    long tokens,
    double flops,
    Peak peak,
    long maxAllocated,
    long maxReserved) {

  @Override
  public String toString() {
    if (times.figures() == 0) {
      return name + ": no step was timed";
    }
    double rate = flops / times.median();
    return String.format(
        Locale.ROOT,
        "%s: %s | %.1f TFLOP/s | MFU %s of %s | memory max allocated %.2f GiB, reserved %.2f GiB",
        name,
        times.summary(tokens),
        rate / 1e12,
        peak.covers(rate)
            ? String.format(Locale.ROOT, "%.1f%%", peak.percent(rate))
            : "n/a, as the rate is above the peak",
        peak,
        maxAllocated / 0x1p30,
        maxReserved / 0x1p30);
  }

  /** How many times as fast as another this one is, by the medians. */
  String against(BenchResult other) {
    return String.format(
        Locale.ROOT,
        "%s is %.2f times as fast as %s",
        name,
        other.times.median() / times.median(),
        other.name);
  }
}
