package moe4j.training.run;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The files that runs leave in their directories, by their names. What else lies there is somebody
 * else's, and stays where it is.
 */
final class RunFiles {
  /** What the directory's name begins with that an older run is moved into. */
  static final String OLD = "old-";

  private static final DateTimeFormatter DATE =
      DateTimeFormatter.ofPattern("uuuu-MM-dd-HHmmss", Locale.ROOT).withZone(ZoneOffset.UTC);

  /** Checkpoints, whole and half, and the best one's directory. */
  private static final Pattern CHECKPOINTS =
      Pattern.compile(
          "iter_\\d{7,18}(\\.tmp|\\.replaced)?"
              + "|latest_checkpointed_iteration\\.txt(\\.tmp)?|"
              + BestModel.DIRECTORY);

  /** Records: metrics, events, logs, reports, the configuration. */
  private static final Pattern RECORDS =
      Pattern.compile(
          "metrics(\\.\\d+)?\\.jsonl(\\.tmp)?|.*tfevents.*|.*\\.log|log\\.txt|arguments\\.txt"
              + "|config\\.yaml|report\\.html|loss\\.png");

  private RunFiles() {}

  /**
   * A run that was moved.
   *
   * @param from the directory that it lay in
   * @param to the directory that it lies in now
   */
  record Moved(Path from, Path to) {
    /** Where a path leads now that led to the directory or to something in it. */
    Path now(Path path) throws IOException {
      if (Files.exists(path)) {
        return Files.isSameFile(path, from) ? to : path;
      }
      Path relative =
          from.toAbsolutePath().normalize().relativize(path.toAbsolutePath().normalize());
      Path there = to.resolve(relative);
      return Files.exists(there) ? there : path;
    }
  }

  /**
   * Moves a run's files into a directory of their own beside where they lie, {@code old-} and the
   * date; nothing is deleted.
   *
   * @return where to; empty where there was nothing to move
   */
  static Optional<Moved> moveAside(Path directory, Instant now) throws IOException {
    List<Path> files = new ArrayList<>();
    List<Path> checkpoints = new ArrayList<>();
    try (Stream<Path> all = Files.list(directory)) {
      for (Path each : all.sorted(Comparator.naturalOrder()).toList()) {
        String name = each.getFileName().toString();
        if (CHECKPOINTS.matcher(name).matches()) {
          checkpoints.add(each);
        } else if (RECORDS.matcher(name).matches() || holdsEventsAlone(each)) {
          files.add(each);
        }
      }
    }
    // Checkpoints go last: where this is cut short, what is left still keeps new runs away.
    files.addAll(checkpoints);
    return moveAside(directory, files, now).map(old -> new Moved(directory, old));
  }

  /** The same with the files that are to be moved, in this order. */
  static Optional<Path> moveAside(Path directory, List<Path> files, Instant now)
      throws IOException {
    if (files.isEmpty()) {
      return Optional.empty();
    }
    Path old = create(directory, OLD + DATE.format(now));
    for (Path file : files) {
      Files.move(file, old.resolve(file.getFileName()), StandardCopyOption.ATOMIC_MOVE);
    }
    return Optional.of(old);
  }

  private static Path create(Path directory, String name) throws IOException {
    Path old = directory.resolve(name);
    for (int number = 2; Files.exists(old); number++) {
      old = directory.resolve(name + "-" + number);
    }
    return Files.createDirectory(old);
  }

  /** Whether it is a directory of TensorBoard's, such as a run's own {@code tensorboard}. */
  private static boolean holdsEventsAlone(Path path) throws IOException {
    if (!Files.isDirectory(path)) {
      return false;
    }
    try (Stream<Path> inside = Files.list(path)) {
      List<Path> files = inside.toList();
      return !files.isEmpty()
          && files.stream().allMatch(file -> file.getFileName().toString().contains("tfevents"));
    }
  }
}
