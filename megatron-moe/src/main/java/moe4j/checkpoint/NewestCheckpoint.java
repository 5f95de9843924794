package moe4j.checkpoint;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/**
 * The search for the newest checkpoint that is whole: one candidate after the other, with a warning
 * for each that is passed over. Rank 0 conducts it for all.
 */
final class NewestCheckpoint {
  private final Path root;
  private final CheckpointFolder folder;
  private final Consumer<String> warnings;
  private final Set<Path> tried = new HashSet<>();
  private final List<String> problems = new ArrayList<>();
  private OptionalLong tracked = OptionalLong.empty();
  private boolean begun;

  NewestCheckpoint(Path root, CheckpointFolder folder, Consumer<String> warnings) {
    this.root = root;
    this.folder = folder;
    this.warnings = warnings;
  }

  /**
   * The next directory to try; empty where there never was a checkpoint.
   *
   * @throws IOException where there are checkpoints and all have been tried
   */
  Optional<Path> next() throws IOException {
    if (!begun) {
      begun = true;
      for (Path leftover : folder.leftovers()) {
        warnings.accept(
            "passing over " + leftover + ": a checkpoint that was not written to its end");
      }
    }
    // The list is read anew each time: a run that saves meanwhile may replace what was in it.
    Look last = null;
    while (true) {
      List<CheckpointFolder.Found> found = folder.list();
      for (CheckpointFolder.Found broken : found) {
        if (broken.head() == null && tried.add(broken.directory())) {
          report(broken.directory(), broken.problem());
        }
      }
      tracked = folder.tracked();
      for (CheckpointFolder.Found each : found) {
        if (each.head() != null && tried.add(each.directory())) {
          return Optional.of(each.directory());
        }
      }
      // What was listed may be gone by now, and what took its place not in the list: there is
      // nothing left to try only where nothing changed since the look before.
      Look look = Look.of(found, tracked);
      if (look.equals(last)) {
        return none();
      }
      last = look;
    }
  }

  /** The list of checkpoints and the tracker file; every save changes one of them. */
  private record Look(Set<Path> directories, OptionalLong tracked) {
    static Look of(List<CheckpointFolder.Found> found, OptionalLong tracked) {
      return new Look(
          found.stream()
              .map(CheckpointFolder.Found::directory)
              .collect(Collectors.toUnmodifiableSet()),
          tracked);
    }
  }

  private Optional<Path> none() throws IOException {
    if (!problems.isEmpty()) {
      throw new IOException(
          "no checkpoint in " + root + " can be used: " + String.join("; ", problems));
    }
    if (Files.exists(folder.tracker())) {
      throw new IOException(
          folder.tracker() + " says that there are checkpoints, but " + root + " has none");
    }
    return Optional.empty();
  }

  /** The directory tried last cannot be used. */
  void report(Path directory, String problem) {
    // A checkpoint that was pruned meanwhile is not broken.
    if (Files.isDirectory(directory)) {
      problems.add(problem);
      warnings.accept("checkpoint " + directory + " cannot be used: " + problem);
    }
  }

  /** The directory tried last is the one. */
  void use(Path directory, long iteration) {
    if (!problems.isEmpty()) {
      warnings.accept("using checkpoint " + directory + " instead");
    }
    if (tracked.isEmpty()) {
      warnings.accept(
          folder.tracker()
              + " is missing or no number; using the checkpoint saved last, "
              + directory);
    } else if (tracked.getAsLong() != iteration) {
      warnings.accept(
          String.format(
              "%s says %d; using the whole checkpoint saved last, %s",
              folder.tracker(), tracked.getAsLong(), directory));
    }
  }
}
