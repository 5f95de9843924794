package moe4j.kernels.bench;

import java.util.Locale;
import moe4j.kernels.check.BenchCase;

/**
 * How long an operation takes, as a model calls it and as its reference.
 *
 * @param of what was timed
 * @param ours the median time of a round, in seconds
 * @param reference the median time of the reference's round, in seconds
 * @param launched whether a GPU's rounds were launched from Java, since the operation cannot be
 *     captured as a graph: a small operation then takes as long as its launches
 */
public record KernelTimes(BenchCase of, double ours, double reference, boolean launched) {
  private static final String LAYOUT = "%-66s %-38s %11s %13s %15s %6s %8s";

  /** The names of the columns. */
  public static String header() {
    return format(
        LAYOUT, "operation", "shape", "ours ms", "reference ms", "ours reach", "share", "ratio");
  }

  /** How many times as fast as the reference. */
  public double ratio() {
    return reference / ours;
  }

  /** What is reached of the device: FLOP/s of products, bytes a second of all else. */
  public double rate() {
    return (of.cost().flops() > 0 ? of.cost().flops() : of.cost().bytes()) / ours;
  }

  /** Which part of our time the device would take at its ceilings, in percent. */
  public double share(Ceilings ceilings) {
    return 100 * ceilings.floor(of.cost()) / ours;
  }

  /** The line of a table below {@link #header}. */
  public String line(Ceilings ceilings) {
    String rate =
        of.cost().flops() > 0
            ? format("%.3g TFLOP/s", rate() / 1e12)
            : format(rate() < 1e9 ? "%.2g GB/s" : "%.1f GB/s", rate() / 1e9);
    return format(
            LAYOUT,
            of.name(),
            of.shape(),
            format("%.4f", ours * 1e3),
            format("%.4f", reference * 1e3),
            rate,
            format("%.0f%%", share(ceilings)),
            format("%.2f", ratio()))
        + (launched ? "  launched" : "");
  }

  private static String format(String layout, Object... values) {
    return String.format(Locale.ROOT, layout, values);
  }
}
