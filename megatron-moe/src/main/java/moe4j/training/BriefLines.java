package moe4j.training;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import moe4j.config.Flags;
import moe4j.console.Screen;
import moe4j.record.IterationRecord;
import moe4j.record.ValidationRecord;

/** A run's log lines for a terminal, where Megatron's are wider than most. */
final class BriefLines {
  private BriefLines() {}

  /**
   * A log interval.
   *
   * @param behind what stands at the end where there is room, such as the rate; may be empty
   */
  static String training(IterationRecord it, int steps, List<String> behind, int width) {
    List<String> parts = new ArrayList<>();
    parts.add("step %d/%d".formatted(it.iteration(), steps));
    if (it.skippedIterations() > 0) {
      parts.add("skipped " + it.skippedIterations());
    }
    Double loss = it.losses().get(IterationRecord.LM_LOSS);
    parts.add(loss == null ? "loss n/a" : format("loss %.4f", loss));
    Double bpc = it.losses().get(IterationRecord.BPC);
    if (bpc != null) {
      parts.add(format("bpc %.4f", bpc));
    }
    parts.add(format("lr %.1e", it.learningRate()));
    parts.add(it.gradNorm() == null ? "" : format("grad norm %.2f", it.gradNorm()));
    parts.addAll(behind);
    return fitting(parts, width);
  }

  /** An evaluation. */
  static String validation(ValidationRecord record, int steps, int width) {
    boolean test = record.set() == ValidationRecord.Set.TEST;
    double loss = record.losses().get(IterationRecord.LM_LOSS);
    Double bpc = record.losses().get(IterationRecord.BPC);
    return fitting(
        List.of(
            "step %d/%d".formatted(record.iteration(), steps),
            format((test ? "test" : "validation") + " loss %.4f", loss),
            bpc == null
                ? format("PPL %.4g", Math.exp(Math.min(20, loss)))
                : format("bpc %.5f", bpc)),
        width);
  }

  /**
   * The arguments: those that differ from their defaults, a line each.
   *
   * @param all every argument of the run
   * @param where the file that has them all, or null
   * @param keeps the flags of which one would keep them, such as {@code --save}
   */
  static List<String> arguments(
      Map<String, ?> differing, int all, String where, String keeps, int width) {
    List<String> lines = new ArrayList<>();
    lines.add("flags that differ from their defaults:");
    differing.forEach(
        (name, value) -> {
          List<String> words = new ArrayList<>();
          Flags.words(name, value, words);
          String line = "  " + String.join(" ", words);
          lines.add(line.length() > width ? line.substring(0, width) : line);
        });
    lines.add(
        where == null
            ? "%s keeps all %d arguments in DIR/%s".formatted(keeps, all, RunLog.FILE)
            : "all %d arguments are in %s".formatted(all, where));
    return lines;
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }

  /** As many of the parts as there is room for; a part is there as a whole or not at all. */
  private static String fitting(List<String> parts, int width) {
    StringBuilder line = new StringBuilder();
    for (String part : parts.stream().filter(p -> !p.isEmpty()).toList()) {
      String next = (line.isEmpty() ? "" : " | ") + part;
      if (line.length() + next.length() > width) {
        break;
      }
      line.append(next);
    }
    String first = parts.get(0);
    return line.isEmpty() ? first.substring(0, Math.min(width, first.length())) : line.toString();
  }

  /** The current terminal's width. */
  static int width() {
    return Screen.current().width();
  }
}
