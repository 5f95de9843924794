package moe4j.report;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.zip.CRC32C;

/**
 * Which runs a report is of: a mark in its page, so that a report is brought up to date where it
 * lies, and another's is not replaced. The mark tells the runs' directories apart and does not name
 * them: reports are given to other people.
 */
public final class ReportOwner {
  private ReportOwner() {}

  /** The page's element that says which runs it is of. */
  static String mark(List<Path> runs) {
    CRC32C sum = new CRC32C();
    String names =
        runs.stream()
            .map(run -> run.toAbsolutePath().normalize().toString())
            .collect(Collectors.joining("\n"));
    sum.update(names.getBytes(StandardCharsets.UTF_8));
    return "<meta name=\"moe4j-runs\" content=\"%08x\">".formatted(sum.getValue());
  }

  /**
   * Makes sure that a report of these runs replaces nothing but an earlier one of theirs.
   *
   * @param runs the runs' directories, in the report's order
   * @throws IllegalArgumentException where it would: one sentence with the ways on
   */
  public static void check(Path directory, List<Path> runs) throws IOException {
    Path page = directory.resolve("report.html");
    Path picture = directory.resolve("loss.png");
    boolean own =
        Files.exists(page)
            && new String(Files.readAllBytes(page), StandardCharsets.UTF_8).contains(mark(runs));
    Path other = Files.exists(page) ? page : Files.exists(picture) ? picture : null;
    if (other != null && !own) {
      throw new IllegalArgumentException(
          ("--output-dir %s holds a %s that is not of these runs: another --output-dir leaves it"
                  + " alone, and --overwrite replaces it")
              .formatted(directory, other.getFileName()));
    }
  }
}
