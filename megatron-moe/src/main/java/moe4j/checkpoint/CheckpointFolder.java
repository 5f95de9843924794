package moe4j.checkpoint;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The directory that checkpoints lie in: what is there, what a save that died left, and which are
 * to go. Of several ranks only rank 0 looks: on a network file system two machines may for a while
 * see two different listings.
 */
final class CheckpointFolder {
  static final String TRACKER = "latest_checkpointed_iteration.txt";

  private static final Pattern DIRECTORY = Pattern.compile("iter_(\\d{7,18})");

  private final Path root;

  CheckpointFolder(Path root) {
    this.root = root;
  }

  static String name(long iteration) {
    return String.format(Locale.ROOT, "iter_%07d", iteration);
  }

  /** Where a checkpoint is written before it gets its name. */
  static Path temporary(Path directory) {
    return directory.resolveSibling(directory.getFileName() + ".tmp");
  }

  /** Where a checkpoint waits while another of its iteration takes its place. */
  static Path replaced(Path directory) {
    return directory.resolveSibling(directory.getFileName() + ".replaced");
  }

  /** A checkpoint's directory; {@code head} is null where {@code problem} says why. */
  record Found(long iteration, Path directory, Manifest.Head head, String problem) {
    static Found at(long iteration, Path directory) {
      try {
        return new Found(iteration, directory, Checkpoint.readHead(directory), null);
      } catch (IOException e) {
        return new Found(iteration, directory, null, e.getMessage());
      }
    }

    boolean hasItsFiles() throws IOException {
      for (Manifest.FileEntry file : head.files()) {
        Path path = directory.resolve(file.name());
        if (!Files.exists(path) || Files.size(path) != file.bytes()) {
          return false;
        }
      }
      return true;
    }

    Instant created() {
      return head == null ? Instant.MIN : head.createdAt();
    }
  }

  /** All checkpoints, last saved first, those without a readable manifest at the end. */
  List<Found> list() throws IOException {
    Set<String> names = new HashSet<>(names());
    List<Found> found = new ArrayList<>();
    for (String name : names) {
      Matcher matcher = DIRECTORY.matcher(name.replaceFirst("\\.replaced$", ""));
      // A replaced one counts where the rename that should have followed did not happen.
      if (matcher.matches() && (matcher.group().equals(name) || !names.contains(matcher.group()))) {
        found.add(Found.at(Long.parseLong(matcher.group(1)), root.resolve(name)));
      }
    }
    found.sort(Comparator.comparing(Found::created).thenComparing(Found::iteration).reversed());
    return found;
  }

  /** Directories that a save left half done. */
  List<Path> leftovers() throws IOException {
    return names().stream().filter(CheckpointFolder::isLeftover).map(root::resolve).toList();
  }

  private List<String> names() throws IOException {
    try (Stream<Path> paths = Files.list(root)) {
      return paths.map(path -> path.getFileName().toString()).sorted().toList();
    } catch (NoSuchFileException e) {
      return List.of();
    } catch (FileSystemException e) {
      throw new IOException("cannot read checkpoints from " + root + ": " + Disk.reason(e), e);
    }
  }

  /** Removes what a save left half done, and what it replaced. */
  void tidy() throws IOException {
    List<String> names = names();
    for (String name : names) {
      if (isLeftover(name)) {
        Disk.deleteTree(root.resolve(name));
      } else if (name.endsWith(".replaced")) {
        String original = name.substring(0, name.length() - ".replaced".length());
        if (names.contains(original)) {
          Disk.deleteTree(root.resolve(name));
        } else {
          Disk.move(root.resolve(name), root.resolve(original));
        }
      }
    }
  }

  private static boolean isLeftover(String name) {
    return name.endsWith(".tmp")
        && DIRECTORY.matcher(name.substring(0, name.length() - ".tmp".length())).matches();
  }

  /** Now, and after every checkpoint here, whatever became of the clock. */
  Instant timeOfSave() throws IOException {
    Instant time = Instant.now();
    for (Found found : list()) {
      if (!found.created().isBefore(time)) {
        time = found.created().plus(1, ChronoUnit.MICROS);
      }
    }
    return time;
  }

  /**
   * Deletes all but the last saved; what it cannot read it does not judge, and leaves.
   *
   * @param mostRecentK how many to keep; -1 keeps all
   */
  void prune(int mostRecentK) throws IOException {
    if (mostRecentK < 0) {
      return;
    }
    int kept = 0;
    for (Found found : list()) {
      if (found.head != null && kept < mostRecentK && found.hasItsFiles()) {
        kept++;
      } else if (found.head != null && kept > 0) {
        // First out of sight: half a checkpoint under its own name would look like a broken one.
        Path discarded = temporary(found.directory);
        Disk.move(found.directory, discarded);
        Disk.deleteTree(discarded);
      }
    }
  }

  Path tracker() {
    return root.resolve(TRACKER);
  }

  void track(long iteration) throws IOException {
    Disk.replace(tracker(), (iteration + "\n").getBytes(StandardCharsets.US_ASCII));
  }

  /** The tracker file's number; empty where it is missing or none. */
  OptionalLong tracked() throws IOException {
    if (!Files.exists(tracker())) {
      return OptionalLong.empty();
    }
    String text = new String(Files.readAllBytes(tracker()), StandardCharsets.ISO_8859_1).strip();
    return text.matches("\\d{1,18}") ? OptionalLong.of(Long.parseLong(text)) : OptionalLong.empty();
  }
}
