package moe4j.kernels.cuda;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * What a GPU did in a stretch of time, by kernel.
 *
 * @param rows by time, the longest first
 * @param spanMicros from the first start to the last end, in microseconds
 * @param busyMicros of these, while at least one kernel or copy ran: where two run side by side,
 *     less than the rows' sum
 */
public record KernelTable(List<Row> rows, double spanMicros, double busyMicros) {
  /** The columns of a kernel's name in the text table. */
  static final int NAME_COLUMNS = 90;

  /**
   * One run of a kernel, or a copy.
   *
   * @param name as it is shown
   * @param start in nanoseconds of the GPU's clock
   * @param end in nanoseconds of the same clock
   */
  record Event(String name, long start, long end) {}

  /**
   * All runs of a kernel.
   *
   * @param micros their time together, in microseconds
   * @param share of the time of all rows, from 0 to 1
   * @param minMicros the shortest run
   * @param maxMicros the longest run
   */
  public record Row(
      String name, long calls, double micros, double share, double minMicros, double maxMicros) {}

  private static final class Sum {
    private long calls;
    private long nanos;
    private long min = Long.MAX_VALUE;
    private long max;

    private void add(long duration) {
      calls++;
      nanos += duration;
      min = Math.min(min, duration);
      max = Math.max(max, duration);
    }
  }

  /** The table of some events, in any order. */
  static KernelTable of(List<Event> events) {
    Map<String, Sum> sums = new HashMap<>();
    long total = 0;
    for (Event event : events) {
      long duration = event.end() - event.start();
      sums.computeIfAbsent(event.name(), name -> new Sum()).add(duration);
      total += duration;
    }
    List<Row> rows = new ArrayList<>();
    double all = Math.max(1, total);
    sums.forEach(
        (name, sum) ->
            rows.add(
                new Row(
                    name,
                    sum.calls,
                    sum.nanos / 1e3,
                    sum.nanos / all,
                    sum.min / 1e3,
                    sum.max / 1e3)));
    rows.sort(Comparator.comparingDouble((Row r) -> -r.micros()).thenComparing(Row::name));
    List<Event> ordered = new ArrayList<>(events);
    ordered.sort(Comparator.comparingLong(Event::start));
    long busy = 0;
    long end = Long.MIN_VALUE;
    for (Event event : ordered) {
      if (event.end() > end) {
        busy += event.end() - Math.max(event.start(), end);
        end = event.end();
      }
    }
    double span = ordered.isEmpty() ? 0 : (end - ordered.get(0).start()) / 1e3;
    return new KernelTable(List.copyOf(rows), span, busy / 1e3);
  }

  /** The time in which nothing ran between the first start and the last end, in microseconds. */
  public double idleMicros() {
    return spanMicros - busyMicros;
  }

  /**
   * The table as text: a line a kernel with its calls and milliseconds of a step, its share of the
   * kernels' time and the shares down to it, and the microseconds of its shortest and longest run.
   *
   * @param steps that the events are of
   */
  public List<String> lines(int steps) {
    List<String> lines = new ArrayList<>();
    lines.add(
        format(
            "%d steps | of each: span %.3f ms, GPU busy %.3f ms, idle %.3f ms (%.1f%%)",
            steps,
            spanMicros / 1e3 / steps,
            busyMicros / 1e3 / steps,
            idleMicros() / 1e3 / steps,
            spanMicros == 0 ? 0.0 : 100 * idleMicros() / spanMicros));
    int width = rows.stream().mapToInt(r -> shown(r.name()).length()).max().orElse(6);
    String layout = "%-" + Math.max(6, width) + "s %9s %10s %7s %7s %10s %10s";
    lines.add(format(layout, "kernel", "calls", "ms", "%", "cum. %", "min us", "max us"));
    double cumulated = 0;
    double micros = 0;
    long calls = 0;
    for (Row row : rows) {
      cumulated += 100 * row.share();
      micros += row.micros();
      calls += row.calls();
      lines.add(
          format(
              layout,
              shown(row.name()),
              perStep(row.calls(), steps),
              fixed(3, row.micros() / 1e3 / steps),
              fixed(2, 100 * row.share()),
              fixed(2, cumulated),
              fixed(1, row.minMicros()),
              fixed(1, row.maxMicros())));
    }
    lines.add(
        format(
                layout,
                "all",
                perStep(calls, steps),
                fixed(3, micros / 1e3 / steps),
                fixed(2, cumulated),
                "",
                "",
                "")
            .stripTrailing());
    return lines;
  }

  private static String perStep(long calls, int steps) {
    return calls % steps == 0 ? String.valueOf(calls / steps) : fixed(1, (double) calls / steps);
  }

  private static String fixed(int decimals, double value) {
    return format("%." + decimals + "f", value);
  }

  private static String format(String layout, Object... values) {
    return String.format(Locale.ROOT, layout, values);
  }

  private static String shown(String name) {
    return name.length() <= NAME_COLUMNS ? name : name.substring(0, NAME_COLUMNS - 3) + "...";
  }

  /**
   * A demangled name without what says little: the return type, the parameters, the namespaces of
   * libtorch. Names without parameters, such as cuBLAS's, stay as they are.
   */
  static String shorten(String demangled) {
    String anonymous = demangled.replace("(anonymous namespace)::", "");
    String name = anonymous.substring(0, parameters(anonymous)).strip();
    name = name.substring(returnType(name));
    return name.replaceAll("\\b(at::native::|at::cuda::|c10::|std::)+", "");
  }

  /** Where the parameter list begins: the first parenthesis outside of template arguments. */
  private static int parameters(String name) {
    int depth = 0;
    for (int i = 0; i < name.length(); i++) {
      char c = name.charAt(i);
      if (c == '<') {
        depth++;
      } else if (c == '>' && depth > 0 && name.charAt(i - 1) != '-') {
        depth--;
      } else if (c == '(' && depth == 0 && i > 0) {
        return i;
      }
    }
    return name.length();
  }

  /** Where the name begins after its return type, which templates have, with a space after it. */
  private static int returnType(String name) {
    int depth = 0;
    int begin = 0;
    for (int i = 0; i < name.length(); i++) {
      char c = name.charAt(i);
      if (c == '<') {
        depth++;
      } else if (c == '>' && depth > 0) {
        depth--;
      } else if (c == ' ' && depth == 0) {
        begin = i + 1;
      }
    }
    return begin;
  }
}
