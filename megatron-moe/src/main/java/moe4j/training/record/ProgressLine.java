package moe4j.training.record;

import java.io.Console;
import java.io.PrintStream;
import java.util.Locale;
import java.util.function.LongSupplier;

/**
 * One line on a terminal that is written over as a run goes on: name, step, loss, tokens a second
 * and the time left. Away from a terminal (a file, a pipe) it prints nothing: the log lines are the
 * record.
 */
public final class ProgressLine implements AutoCloseable {
  private static final long REFRESH_NANOS = 100_000_000;

  private final String name;
  private final PrintStream out;
  private final LongSupplier nanoTime;
  private int firstStep = -1;
  private long firstNanos;
  private long shownNanos;
  private String text = "";
  private int width;

  /**
   * A line.
   *
   * @param out the terminal, or null where there is none
   * @param nanoTime as {@link System#nanoTime}
   */
  public ProgressLine(String name, PrintStream out, LongSupplier nanoTime) {
    this.name = name;
    this.out = out;
    this.nanoTime = nanoTime;
  }

  /** A line on the console, if there is one. */
  public static ProgressLine onConsole(String name) {
    return new ProgressLine(name, onTerminal() ? System.out : null, System::nanoTime);
  }

  @SuppressWarnings("SystemConsoleNull")
  private static boolean onTerminal() {
    Console console = System.console();
    if (console == null) {
      return false;
    }
    try {
      // From JDK 22 on there is a console without a terminal too, and a method that tells.
      return (boolean) Console.class.getMethod("isTerminal").invoke(console);
    } catch (NoSuchMethodException e) {
      return true;
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(e);
    }
  }

  /**
   * Shows how far a run is; ten times a second at most, and always at the end.
   *
   * @param loss the latest known
   * @param tokensPerSecond the latest known
   */
  public void update(int step, int steps, double loss, double tokensPerSecond) {
    if (out == null) {
      return;
    }
    long now = nanoTime.getAsLong();
    if (firstStep < 0) {
      firstStep = step;
      firstNanos = now;
    } else if (now - shownNanos < REFRESH_NANOS && step < steps) {
      redraw();
      return;
    }
    shownNanos = now;
    String left =
        step <= firstStep
            ? "--"
            : duration((now - firstNanos) * 1e-9 / (step - firstStep) * (steps - step));
    show(
        String.format(
            Locale.ROOT,
            "%s  step %d/%d (%d%%)  loss %.4f  %,.0f tokens/s  %s left",
            name,
            step,
            steps,
            steps == 0 ? 100 : 100L * step / steps,
            loss,
            tokensPerSecond,
            left));
  }

  /** Clears the line, so that a log line can be printed in its place. */
  public void clear() {
    if (width > 0) {
      out.print("\r" + " ".repeat(width) + "\r");
      out.flush();
      width = 0;
    }
  }

  /** Shows the line again where it was cleared, as it was. */
  public void redraw() {
    if (width == 0 && !text.isEmpty()) {
      show(text);
    }
  }

  private void show(String line) {
    out.print("\r" + line + " ".repeat(Math.max(0, width - line.length())));
    out.flush();
    width = line.length();
    text = line;
  }

  /** {@code 42 s}, {@code 3 min 05 s}, {@code 1 h 02 min}. */
  static String duration(double seconds) {
    long whole = Math.round(seconds);
    if (whole < 60) {
      return whole + " s";
    } else if (whole < 3600) {
      return String.format(Locale.ROOT, "%d min %02d s", whole / 60, whole % 60);
    }
    return String.format(Locale.ROOT, "%d h %02d min", whole / 3600, whole / 60 % 60);
  }

  @Override
  public void close() {
    clear();
  }
}
