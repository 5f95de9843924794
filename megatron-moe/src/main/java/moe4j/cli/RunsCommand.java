package moe4j.cli;

import java.io.IOException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import moe4j.checkpoint.CheckpointSummary;
import moe4j.config.Flags;
import moe4j.model.ModelFamilies;
import moe4j.model.ModelFamily;
import moe4j.record.RunDescription;
import moe4j.record.RunHistory;
import moe4j.training.run.SavedRun;

/**
 * {@code moe4j runs [DIR]}: what runs lie below a directory, a line each.
 *
 * <pre>moe4j runs runs</pre>
 */
public final class RunsCommand implements Command {
  /** Where runs lie if nothing else is said. */
  private static final String DEFAULT = "runs";

  /** Runs in directories of directories are found, a whole disk is not searched. */
  private static final int DEPTH = 4;

  private static final List<String> HEAD =
      List.of(
          "name",
          "directory",
          "model",
          "steps",
          "last loss",
          "best valid",
          "state",
          "newest checkpoint");

  @Override
  public String name() {
    return "runs";
  }

  @Override
  public String summary() {
    return "list the runs below a directory: name, steps, losses, state, newest checkpoint";
  }

  @Override
  public String positional() {
    return "[DIR]";
  }

  @Override
  public Flags flags() {
    return Flags.of(NoFlags.class);
  }

  @Override
  public int run(Flags.Parsed parsed) throws IOException {
    List<String> typed = parsed.positional();
    if (typed.size() > 1) {
      throw new IllegalArgumentException(
          "runs takes one directory, not %d".formatted(typed.size()));
    }
    Path root = Path.of(typed.isEmpty() ? DEFAULT : typed.get(0));
    if (!Files.isDirectory(root)) {
      throw new IllegalArgumentException(
          "%s is no directory: moe4j runs DIR names the one that the runs lie in".formatted(root));
    }
    List<List<String>> rows = new ArrayList<>();
    for (Path directory : directories(root)) {
      SavedRun.in(directory).ifPresent(run -> rows.add(row(run)));
    }
    if (rows.isEmpty()) {
      System.out.printf("no run lies below %s%n", root);
      return 0;
    }
    rows.add(0, HEAD);
    print(rows);
    return 0;
  }

  /** The directory and those below it, but for what a run keeps within its own. */
  private static List<Path> directories(Path root) throws IOException {
    List<Path> found = new ArrayList<>();
    Files.walkFileTree(
        root,
        EnumSet.noneOf(java.nio.file.FileVisitOption.class),
        DEPTH,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult preVisitDirectory(Path directory, BasicFileAttributes attributes) {
            String name = String.valueOf(directory.getFileName());
            if (!directory.equals(root) && name.matches("iter_\\d+.*|best|tensorboard|\\..+")) {
              return FileVisitResult.SKIP_SUBTREE;
            }
            found.add(directory);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult visitFileFailed(Path file, IOException e) {
            return FileVisitResult.CONTINUE;
          }
        });
    Collections.sort(found);
    return found;
  }

  private static List<String> row(SavedRun run) {
    Optional<RunHistory> history = run.history();
    return List.of(
        run.name(),
        run.directory().toString(),
        model(run),
        steps(run),
        loss(history.map(RunsCommand::lastLoss).orElse(Double.NaN)),
        loss(history.map(RunsCommand::bestLoss).orElse(Double.NaN)),
        run.state().toString(),
        run.newest().map(RunsCommand::checkpoint).orElse("none"));
  }

  /** Such as {@code GPT 2.79B, 96 experts}. */
  private static String model(SavedRun run) {
    List<String> words = new ArrayList<>();
    kind(run).ifPresent(words::add);
    run.history().map(RunsCommand::size).ifPresent(words::add);
    return words.isEmpty() ? "-" : String.join(" ", words);
  }

  /** The kind of model, as the run's record or else its checkpoint says; older records do not. */
  private static Optional<String> kind(SavedRun run) {
    return run.history()
        .map(history -> history.config().environment().get(RunDescription.MODEL))
        .or(() -> savedKind(run));
  }

  private static Optional<String> savedKind(SavedRun run) {
    try {
      return SavedModels.family(run.directory()).map(ModelFamily::title);
    } catch (IllegalArgumentException e) {
      // A kind that the class path lacks: a listing shows all runs.
      return Optional.empty();
    }
  }

  private static String size(RunHistory history) {
    Object experts = history.config().arguments().get("num_experts");
    String size = size(history.config().totalParameters());
    return experts == null ? size : "%s, %s experts".formatted(size, experts);
  }

  private static String size(long parameters) {
    if (parameters >= 1_000_000_000) {
      return String.format(Locale.ROOT, "%.2fB", parameters / 1e9);
    }
    return parameters >= 1_000_000
        ? String.format(Locale.ROOT, "%.1fM", parameters / 1e6)
        : String.format(Locale.ROOT, "%.0fK", parameters / 1e3);
  }

  private static String steps(SavedRun run) {
    long recorded = run.history().map(history -> (long) history.last().step()).orElse(0L);
    long saved = run.newest().map(CheckpointSummary::iteration).orElse(0L);
    String done = String.valueOf(Math.max(recorded, saved));
    Map<String, Object> arguments = run.history().map(h -> h.config().arguments()).orElse(Map.of());
    return ModelFamilies.all().stream()
        .map(family -> family.words().steps().substring("--".length()).replace('-', '_'))
        .map(arguments::get)
        .filter(Number.class::isInstance)
        .findFirst()
        .map(all -> done + " of " + all)
        .orElse(done);
  }

  private static double lastLoss(RunHistory history) {
    List<RunHistory.Point> train = history.train();
    return train.isEmpty() ? Double.NaN : train.get(train.size() - 1).loss();
  }

  private static double bestLoss(RunHistory history) {
    return history.validation().stream()
        .mapToDouble(RunHistory.Point::loss)
        .min()
        .orElse(Double.NaN);
  }

  private static String loss(double loss) {
    return Double.isNaN(loss) ? "-" : String.format(Locale.ROOT, "%.4f", loss);
  }

  private static String checkpoint(CheckpointSummary checkpoint) {
    return "%d%s"
        .formatted(
            checkpoint.iteration(),
            checkpoint.created().map(time -> ", " + SavedRun.date(time)).orElse(""));
  }

  /** Columns as wide as what stands in them; numbers are few, so all begin at the left. */
  private static void print(List<List<String>> rows) {
    int[] widths = new int[HEAD.size()];
    for (List<String> row : rows) {
      for (int i = 0; i < widths.length; i++) {
        widths[i] = Math.max(widths[i], row.get(i).length());
      }
    }
    for (List<String> row : rows) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < widths.length; i++) {
        line.append(row.get(i)).append(" ".repeat(widths[i] - row.get(i).length() + 2));
      }
      System.out.println(line.toString().stripTrailing());
    }
  }
}
