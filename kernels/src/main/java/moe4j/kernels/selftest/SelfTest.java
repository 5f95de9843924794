package moe4j.kernels.selftest;

import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.Device;

/** Runs checks one after the other; what one of them throws does not keep the next from running. */
public final class SelfTest {
  private SelfTest() {}

  /**
   * The result of a run.
   *
   * @param checks that were run
   * @param findings of all of them
   * @param failed findings beyond their bounds, and checks that threw or compared nothing
   */
  public record Result(int checks, int findings, int failed) {
    /** Whether nothing failed. */
    public boolean passed() {
      return failed == 0;
    }

    private Result plus(int moreFindings, int moreFailed) {
      return new Result(checks + 1, findings + moreFindings, failed + moreFailed);
    }

    @Override
    public String toString() {
      return "%s, %s, %d failed"
          .formatted(count(checks, "check"), count(findings, "finding"), failed);
    }

    private static String count(int number, String what) {
      return "%d %s%s".formatted(number, what, number == 1 ? "" : "s");
    }
  }

  /**
   * Runs each check in a scope of its own.
   *
   * @param seed of all random inputs
   * @param out takes a line for each finding
   */
  public static Result run(
      List<KernelCheck> checks, Device device, long seed, Consumer<String> out) {
    return run(checks, device, seed, out, begun -> {});
  }

  /**
   * The same with a word before each check, which may have kernels to compile.
   *
   * @param progress takes a line as a check begins: its number, how many there are, and the time
   *     since the start
   */
  public static Result run(
      List<KernelCheck> checks,
      Device device,
      long seed,
      Consumer<String> out,
      Consumer<String> progress) {
    long start = System.nanoTime();
    Result result = new Result(0, 0, 0);
    for (KernelCheck check : checks) {
      double seconds = (System.nanoTime() - start) * 1e-9;
      progress.accept(
          String.format(
              Locale.ROOT,
              "check %d of %d after %.1f s: %s",
              result.checks() + 1,
              checks.size(),
              seconds,
              check.name()));
      Comparison comparison = new Comparison(device, seed);
      int failed = 0;
      String trouble = null;
      try {
        Scopes.run(() -> check.run(comparison));
        if (comparison.skipped() != null) {
          out.accept(check.name() + " was skipped: " + comparison.skipped());
        } else if (comparison.findings().isEmpty()) {
          trouble = "compared nothing";
        }
      } catch (RuntimeException | LinkageError e) {
        trouble = "threw " + firstLine(e);
      }
      for (Comparison.Finding finding : comparison.findings()) {
        out.accept(finding.toString());
        if (!finding.passed()) {
          failed++;
        }
      }
      if (trouble != null) {
        out.accept(check.name() + " " + trouble + "  FAILED");
        failed++;
      }
      result = result.plus(comparison.findings().size(), failed);
    }
    return result;
  }

  /** Native errors carry a C++ backtrace after their first line. */
  private static String firstLine(Throwable e) {
    return e.toString().lines().findFirst().orElse("");
  }
}
