package moe4j.report;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import moe4j.training.record.MadeUpRun;
import org.testng.annotations.Test;

/** A report replaces an earlier one of the same runs, and nothing else. */
public class ReportOwnerTest {
  @Test
  public void onlyAReportOfTheSameRunsIsReplaced() throws IOException {
    Path directory = Files.createTempDirectory("reports");
    try {
      List<Path> runs = List.of(directory.resolve("a"), directory.resolve("b"));
      Path page = directory.resolve("report.html");
      ReportOwner.check(directory, runs);
      Files.writeString(page, "<html>" + ReportOwner.mark(runs) + "</html>");
      ReportOwner.check(directory, runs);
      refused(directory, runs.subList(0, 1), "report.html");
      Files.writeString(page, "my own page");
      refused(directory, runs, "report.html");
      Files.delete(page);
      Files.writeString(directory.resolve("loss.png"), "my own picture");
      refused(directory, runs, "loss.png");
    } finally {
      MadeUpRun.delete(directory);
    }
  }

  private static void refused(Path directory, List<Path> runs, String file) {
    assertEquals(
        expectThrows(IllegalArgumentException.class, () -> ReportOwner.check(directory, runs))
            .getMessage(),
        ("--output-dir %s holds a %s that is not of these runs: another --output-dir leaves it"
                + " alone, and --overwrite replaces it")
            .formatted(directory, file));
  }
}
