package moe4j.cli;

import java.io.IOException;
import java.nio.file.Path;
import moe4j.config.Flag;
import moe4j.config.Flags;
import moe4j.record.RunHistory;
import moe4j.report.CompareReport;
import moe4j.report.ReportOwner;

/** {@code moe4j compare RUN RUN...}: one report of several runs. */
public final class CompareCommand implements Command {

  /** Its flags. */
  public record Options(
      @Flag(help = "directory for report.html and loss.png", value = "runs/compare")
          String outputDir,
      @Flag(help = "replace a report of other runs in --output-dir") boolean overwrite) {}

  @Override
  public String name() {
    return "compare";
  }

  @Override
  public String summary() {
    return "make a report of runs: loss curves, configurations, expert load";
  }

  @Override
  public String positional() {
    return "RUN [RUN ...]";
  }

  @Override
  public Flags flags() {
    return Flags.of(Options.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    CompareReport report =
        CompareReport.of(
            parsed.positional().stream().map(Path::of).toList(),
            sentence -> System.err.println("moe4j compare: " + sentence));
    Options options = parsed.get(Options.class);
    Path output = Path.of(options.outputDir());
    if (!options.overwrite()) {
      ReportOwner.check(output, report.runs().stream().map(RunHistory::directory).toList());
    }
    Path page = report.write(output);
    System.out.println(page);
    System.out.println(report.summary());
    return 0;
  }
}
