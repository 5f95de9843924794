package moe4j.report;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import moe4j.record.MetricsReader;
import moe4j.record.PythonFormat;
import moe4j.record.RunHistory;
import moe4j.record.ValidationRecord;

/**
 * What {@code moe4j compare RUN RUN...} makes of several runs' {@code metrics.jsonl}: {@code
 * report.html}, one page that needs no other file, and {@code loss.png}.
 */
public final class CompareReport {
  private final List<RunHistory> histories;
  private final List<RunSummary> runs;

  private CompareReport(List<RunHistory> histories) {
    this.histories = List.copyOf(histories);
    this.runs = RunSummary.of(this.histories);
  }

  /**
   * Reads runs, in the order of the report.
   *
   * @param directories each a run's directory or its {@code metrics.jsonl}
   * @throws IOException in one sentence that names the path, if a run is missing, or has recorded
   *     neither a training nor a validation loss yet
   * @throws IllegalArgumentException if no run is named
   */
  public static CompareReport of(List<Path> directories) throws IOException {
    if (directories.isEmpty()) {
      throw new IllegalArgumentException("compare needs the directory of at least one run");
    }
    List<RunHistory> histories = new ArrayList<>();
    for (Path directory : directories) {
      RunHistory history = MetricsReader.read(directory);
      if (history.train().isEmpty() && history.validation().isEmpty()) {
        throw new IOException("the run at " + directory + " has recorded no loss yet");
      }
      histories.add(history);
    }
    return new CompareReport(histories);
  }

  /**
   * The same, without those that have nothing to compare: {@code runs/*} names other directories,
   * too, and runs that have only begun.
   *
   * @param leftOut told, a sentence each, which and why
   * @throws IOException as {@link #of(List)}, where none of them has
   */
  public static CompareReport of(List<Path> directories, Consumer<String> leftOut)
      throws IOException {
    List<Path> recorded = new ArrayList<>();
    List<String> others = new ArrayList<>();
    for (Path directory : directories) {
      try {
        of(List.of(directory));
        recorded.add(directory);
      } catch (IOException e) {
        others.add("%s is left out: %s".formatted(directory, e.getMessage()));
      }
    }
    if (recorded.isEmpty()) {
      return of(directories);
    }
    others.forEach(leftOut);
    return of(recorded);
  }

  /** The runs that are compared. */
  public List<RunHistory> runs() {
    return histories;
  }

  /** All final validation losses on one line, and how far the last run is from the first. */
  public String summary() {
    List<String> parts = new ArrayList<>();
    for (RunSummary run : runs) {
      parts.add(
          Double.isNaN(run.validationLoss())
              ? run.label() + " none"
              : "%s %s (%s)"
                  .formatted(
                      run.label(), PythonFormat.fixed(run.validationLoss(), 4), inOtherUnits(run)));
    }
    String line = "validation loss: " + String.join(", ", parts);
    if (runs.size() == 2) {
      RunSummary last = runs.get(1);
      double gap = last.validationLoss() - runs.get(0).validationLoss();
      if (!Double.isNaN(gap)) {
        line +=
            "; %s is %s %s"
                .formatted(
                    last.label(),
                    PythonFormat.fixed(Math.abs(gap), 4),
                    gap < 0 ? "lower" : gap > 0 ? "higher" : "apart");
      }
    }
    return line;
  }

  private static String inOtherUnits(RunSummary run) {
    double loss = run.validationLoss();
    return run.hasBitsPerCharacter()
        ? PythonFormat.fixed(loss / Math.log(2), 4) + " bits per character"
        : "perplexity " + PythonFormat.fixed(ValidationRecord.perplexity(loss), 3);
  }

  /**
   * Writes {@code report.html} and {@code loss.png}, each whole or not at all.
   *
   * @return the page
   * @throws IOException if the directory cannot be written to, or if the machine has no font or the
   *     class path no XChart to draw {@code loss.png} with; {@code report.html} is complete then
   */
  public Path write(Path directory) throws IOException {
    Files.createDirectories(directory);
    Path page = directory.resolve("report.html");
    PictureFile.replace(page, ReportPage.of(runs, summary()).getBytes(StandardCharsets.UTF_8));
    PictureFile.write(
        directory.resolve("loss.png"), page + " is written", () -> LossPicture.of(runs));
    return page;
  }
}
