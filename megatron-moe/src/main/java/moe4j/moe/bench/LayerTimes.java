package moe4j.moe.bench;

import java.util.Locale;
import moe4j.kernels.bench.WorkTimer.Rounds;

/**
 * What one way to compute a layer takes, in one direction: a line of a table.
 *
 * @param name of the way
 * @param backward whether with the backward
 * @param rounds the times
 * @param floor of what it computes, or null where nobody has counted
 * @param kept bytes that a forward keeps for its backward beside its output; negative where they
 *     are not known
 */
public record LayerTimes(
    String name, boolean backward, Rounds rounds, LayerFloor floor, long kept) {
  /** The names of the columns. */
  public static String header() {
    return line(
        "layer",
        "pass",
        "median ms",
        "least and most",
        "TFLOP/s",
        "GB/s",
        "floor ms",
        "share",
        "kept MiB");
  }

  /** Seconds of a round in the middle. */
  public double median() {
    return rounds.median();
  }

  @Override
  public String toString() {
    double seconds = median();
    boolean counted = floor != null;
    String line =
        line(
            name,
            backward ? "forward and backward" : "forward",
            number(seconds * 1e3),
            number(rounds.least() * 1e3) + " " + number(rounds.most() * 1e3),
            counted ? number(floor.flops() / seconds / 1e12) : "-",
            counted ? number(floor.bytes() / seconds / 1e9) : "-",
            counted ? number(floor.seconds() * 1e3) : "-",
            counted ? String.format(Locale.ROOT, "%.0f%%", 100 * floor.seconds() / seconds) : "-",
            kept < 0 ? "-" : number(kept / 0x1p20));
    return line + (rounds.launched() ? "  launched" : "");
  }

  /** At least three digits that are not leading zeros, whether a CPU's figures or a GPU's. */
  static String number(double value) {
    String form = value >= 1000 ? "%.1f" : value >= 0.1 || value == 0 ? "%.3f" : "%.3g";
    return String.format(Locale.ROOT, form, value);
  }

  private static String line(Object... columns) {
    return String.format(Locale.ROOT, "%-22s %-20s %10s %22s %9s %9s %9s %6s %10s", columns)
        .stripTrailing();
  }
}
