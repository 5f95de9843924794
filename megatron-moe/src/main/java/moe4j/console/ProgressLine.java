package moe4j.console;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Locale;
import java.util.function.LongSupplier;

/**
 * A line of progress: how much is done, a figure, the rate over the last seconds, and the time left
 * at that rate. All of it is counted on the host. Away from a terminal it shows nothing.
 */
public final class ProgressLine implements AutoCloseable {
  private static final long REFRESH_NANOS = 100_000_000;

  /** What the rate is taken over. */
  private static final long WINDOW_NANOS = 10_000_000_000L;

  /**
   * What is counted.
   *
   * @param name one of them, such as {@code step}
   * @param total how many there are; 0 where that is not known
   * @param rateName what the rate is of, such as {@code tok}; empty where the parts are too unlike
   *     for a rate to say when they are done
   * @param each how many of these one of them is
   */
  public record Count(String name, long total, String rateName, double each) {}

  private record Moment(long nanos, long done) {}

  private final Screen screen;
  private final String title;
  private final Count count;
  private final LongSupplier nanoTime;
  private final Deque<Moment> window = new ArrayDeque<>();
  private String figure = "";
  private long done;
  private double perSecond = Double.NaN;
  private boolean shown;
  private long shownNanos;

  /**
   * A line, which is not shown yet.
   *
   * @param title what it begins with where there is room; may be empty
   * @param nanoTime as {@link System#nanoTime}
   */
  public ProgressLine(Screen screen, String title, Count count, LongSupplier nanoTime) {
    this.screen = screen;
    this.title = title;
    this.count = count;
    this.nanoTime = nanoTime;
  }

  /** A line on the current screen. */
  public static ProgressLine of(String title, Count count) {
    return new ProgressLine(Screen.current(), title, count, System::nanoTime);
  }

  /** So many are done: shown ten times a second at most, and always where they are all. */
  public void done(long now) {
    if (!screen.isTerminal()) {
      return;
    }
    done = now;
    long nanos = nanoTime.getAsLong();
    if (shown && nanos - shownNanos < REFRESH_NANOS && done != count.total()) {
      return;
    }
    window.addLast(new Moment(nanos, done));
    while (window.size() > 2 && nanos - window.getFirst().nanos() > WINDOW_NANOS) {
      window.removeFirst();
    }
    Moment first = window.getFirst();
    if (nanos > first.nanos() && done > first.done()) {
      perSecond = (done - first.done()) * 1e9 / (nanos - first.nanos());
    }
    shown = true;
    shownNanos = nanos;
    screen.show(text(screen.width()));
  }

  /** The figure that stands in the line from the next time on, such as {@code loss 2.3412}. */
  public void figure(String text) {
    figure = text;
  }

  /** Leaves the time since the last call out of the rate: it was spent on something else. */
  public void goOn() {
    if (!window.isEmpty()) {
      window.clear();
      window.addLast(new Moment(nanoTime.getAsLong(), done));
    }
  }

  /** Such as {@code 12.3k tok/s}; empty where it is not known yet. */
  public String rate() {
    return Double.isNaN(perSecond) || count.rateName().isEmpty()
        ? ""
        : brief(perSecond * count.each()) + " " + count.rateName() + "/s";
  }

  /** Such as {@code 4m12s}; empty where it is not known. */
  public String left() {
    return Double.isNaN(perSecond) || count.rateName().isEmpty() || count.total() == 0
        ? ""
        : duration((count.total() - done) / perSecond);
  }

  /** How far it is, such as {@code step 12/40}. */
  public String position() {
    return count.name() + " " + place();
  }

  private String place() {
    return count.total() == 0 ? String.valueOf(done) : done + "/" + count.total();
  }

  /** The line in so many columns: where they are few, with fewer words and the same figures. */
  private String text(int width) {
    String share = count.total() == 0 ? "" : " (%d%%)".formatted(100 * done / count.total());
    String left = left().isEmpty() ? "" : left() + " left";
    List<String> ways = new ArrayList<>();
    ways.add(joined(" | ", title, position() + share, figure, rate(), left));
    ways.add(joined(" | ", position() + share, figure, rate(), left));
    ways.add(joined(" | ", position(), figure, rate(), left));
    String rate = rate();
    String bare = figure.replace(" | ", " ");
    ways.add(joined(" ", place(), bare, rate, left()));
    ways.add(joined(" ", place(), bare, rate.replace(" " + count.rateName(), ""), left()));
    return ways.stream()
        .filter(way -> way.length() <= width)
        .findFirst()
        .orElse(ways.get(ways.size() - 1));
  }

  private static String joined(String between, String... parts) {
    return String.join(between, List.of(parts).stream().filter(p -> !p.isEmpty()).toList());
  }

  /** Three digits and a word for thousands, such as {@code 12.3k}. */
  public static String brief(double value) {
    String[] units = {"", "k", "M", "G", "T"};
    int unit = 0;
    double scaled = value;
    while (scaled >= 999.5 && unit < units.length - 1) {
      scaled /= 1000;
      unit++;
    }
    String format = scaled < 9.995 ? "%.2f%s" : scaled < 99.95 ? "%.1f%s" : "%.0f%s";
    return String.format(Locale.ROOT, format, scaled, units[unit]);
  }

  /** {@code 42s}, {@code 3m05s}, {@code 1h02m}, {@code 3d04h}. */
  static String duration(double seconds) {
    long whole = Math.round(seconds);
    if (whole < 60) {
      return whole + "s";
    } else if (whole < 3600) {
      return String.format(Locale.ROOT, "%dm%02ds", whole / 60, whole % 60);
    } else if (whole < 48 * 3600) {
      return String.format(Locale.ROOT, "%dh%02dm", whole / 3600, whole / 60 % 60);
    }
    return String.format(Locale.ROOT, "%dd%02dh", whole / 86400, whole / 3600 % 24);
  }

  /** Takes the line away. */
  @Override
  public void close() {
    if (shown) {
      screen.hide();
    }
  }
}
