package moe4j.checkpoint;

import java.io.IOException;
import java.nio.channels.WritableByteChannel;
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
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A directory of checkpoints. A save either happens in full or leaves what was there; a load takes
 * the newest checkpoint that is whole and says why it passed over others.
 *
 * <p>The newest is the one saved last, as its manifest says. That is not always the highest
 * iteration: a run taken up again from an earlier checkpoint overtakes the ones it left behind. The
 * tracker file is for people and scripts; a save that dies just before writing it costs nothing.
 *
 * <p>One process saves into a directory at a time; any number may read.
 */
public final class CheckpointStore {
  static final String TRACKER = "latest_checkpointed_iteration.txt";

  private static final Pattern DIRECTORY = Pattern.compile("iter_(\\d{7,18})");

  private final Path root;
  private final int mostRecentK;
  private final UnaryOperator<WritableByteChannel> wrapper;

  /**
   * A store; nothing is created before the first save.
   *
   * @param mostRecentK how many checkpoints to keep; -1 keeps all
   * @throws IllegalArgumentException where it is 0 or below -1
   */
  public CheckpointStore(Path root, int mostRecentK) {
    this(root, mostRecentK, UnaryOperator.identity());
  }

  /** With something between the writers and their files: a test's disk that runs full. */
  CheckpointStore(Path root, int mostRecentK, UnaryOperator<WritableByteChannel> wrapper) {
    if (mostRecentK == 0 || mostRecentK < -1) {
      throw new IllegalArgumentException(
          "--most-recent-k is " + mostRecentK + "; it is a positive number, or -1 to keep all");
    }
    this.root = root;
    this.mostRecentK = mostRecentK;
    this.wrapper = wrapper;
  }

  /**
   * Finds out at the start whether saving will work: creates the directory and a file in it.
   *
   * @throws IOException where it does not: one sentence with the path and the reason
   */
  public static void checkWritable(Path root) throws IOException {
    try {
      Disk.createDirectories(root);
      Path probe = Files.createTempFile(root, ".writable", ".tmp");
      try {
        Files.write(probe, new byte[1]);
      } finally {
        Files.delete(probe);
      }
    } catch (IOException e) {
      throw new IOException("cannot save checkpoints in " + root + ": " + Disk.reason(e), e);
    }
  }

  /**
   * Saves a checkpoint. When this returns it is on the disk under its final name, and those beyond
   * the most recent k are gone.
   *
   * @param optimizer empty where its state is not to be saved
   * @return its directory
   * @throws IOException where that fails: one sentence. The checkpoints before it are then
   *     untouched
   * @throws IllegalArgumentException where the tensors given do not make up whole tensors
   */
  public Path save(CheckpointInfo info, List<TensorSource> model, List<TensorSource> optimizer)
      throws IOException {
    Path directory = root.resolve(name(info.iteration()));
    try {
      Disk.createDirectories(root);
      tidy();
      try (CheckpointWriter writer = new CheckpointWriter(directory, wrapper)) {
        List<Manifest.Shard> shards = new ArrayList<>();
        shards.add(writer.write(Section.MODEL, 0, 1, model));
        if (!optimizer.isEmpty()) {
          shards.add(writer.write(Section.OPTIMIZER, 0, 1, optimizer));
        }
        writer.commit(timeOfSave(), info, shards);
      }
    } catch (IOException e) {
      throw new IOException(
          String.format(
              "checkpoint %s was not saved: %s; the checkpoints before it are untouched",
              directory, Disk.reason(e)),
          e);
    }
    try {
      Disk.replace(
          root.resolve(TRACKER), (info.iteration() + "\n").getBytes(StandardCharsets.US_ASCII));
      tidy();
      prune();
    } catch (IOException e) {
      throw new IOException(
          String.format(
              "checkpoint %s is saved, but %s could not be brought up to date: %s",
              directory, root, Disk.reason(e)),
          e);
    }
    return directory;
  }

  /**
   * Opens the newest checkpoint that is whole.
   *
   * @param sections what is to be read; the rest is not verified
   * @param warnings told, a sentence each, of all that is broken or contradictory and of a fall
   *     back to an earlier checkpoint
   * @return empty where there never was a checkpoint
   * @throws IOException where there are checkpoints and none can be used
   */
  public Optional<Checkpoint> loadLatest(Set<Section> sections, Consumer<String> warnings)
      throws IOException {
    Set<Path> tried = new HashSet<>();
    List<String> problems = new ArrayList<>();
    warnAboutLeftovers(warnings);
    // The list is read anew each time: a run that saves meanwhile may replace what was in it.
    for (List<Found> found = list(); ; found = list()) {
      for (Found broken : found) {
        if (broken.manifest == null && tried.add(broken.directory)) {
          report(broken.directory, broken.problem, problems, warnings);
        }
      }
      Optional<Found> newest =
          found.stream()
              .filter(f -> f.manifest != null && !tried.contains(f.directory))
              .findFirst();
      if (newest.isEmpty()) {
        return none(problems);
      }
      Path directory = newest.get().directory;
      try {
        Checkpoint checkpoint = Checkpoint.open(directory, sections);
        if (!problems.isEmpty()) {
          warnings.accept("using checkpoint " + directory + " instead");
        }
        warnAboutTracker(checkpoint, warnings);
        return Optional.of(checkpoint);
      } catch (IOException e) {
        tried.add(directory);
        report(directory, e.getMessage(), problems, warnings);
      }
    }
  }

  /**
   * Opens one checkpoint.
   *
   * @throws IOException where it does not exist or is not whole
   */
  public Checkpoint load(long iteration, Set<Section> sections) throws IOException {
    List<Found> found = list();
    for (Found each : found) {
      if (each.iteration == iteration) {
        return Checkpoint.open(each.directory, sections);
      }
    }
    throw new IOException(
        String.format(
            "%s has no checkpoint of iteration %d; it has %s",
            root, iteration, found.isEmpty() ? "none" : iterations()));
  }

  /** The iterations that there are checkpoints of, ascending, whole or not. */
  public List<Long> iterations() throws IOException {
    return list().stream().map(Found::iteration).sorted().toList();
  }

  static Path temporary(Path directory) {
    return directory.resolveSibling(directory.getFileName() + ".tmp");
  }

  /** Where a checkpoint waits while another of its iteration takes its place. */
  static Path replaced(Path directory) {
    return directory.resolveSibling(directory.getFileName() + ".replaced");
  }

  private static String name(long iteration) {
    return String.format(Locale.ROOT, "iter_%07d", iteration);
  }

  /** A checkpoint's directory; {@code manifest} is null where {@code problem} says why. */
  private record Found(long iteration, Path directory, Manifest manifest, String problem) {
    static Found at(long iteration, Path directory) {
      try {
        return new Found(iteration, directory, Checkpoint.readManifest(directory), null);
      } catch (IOException e) {
        return new Found(iteration, directory, null, e.getMessage());
      }
    }

    boolean hasItsFiles() throws IOException {
      for (Manifest.FileEntry file : manifest.files()) {
        Path path = directory.resolve(file.name());
        if (!Files.exists(path) || Files.size(path) != file.bytes()) {
          return false;
        }
      }
      return true;
    }

    Instant created() {
      return manifest == null ? Instant.MIN : manifest.createdAt();
    }
  }

  /** All checkpoints, last saved first, those without a readable manifest at the end. */
  private List<Found> list() throws IOException {
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
  private void tidy() throws IOException {
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
  private Instant timeOfSave() throws IOException {
    Instant time = Instant.now();
    for (Found found : list()) {
      if (!found.created().isBefore(time)) {
        time = found.created().plus(1, ChronoUnit.MICROS);
      }
    }
    return time;
  }

  /** Deletes all but the last saved; what it cannot read it does not judge, and leaves. */
  private void prune() throws IOException {
    if (mostRecentK < 0) {
      return;
    }
    int kept = 0;
    for (Found found : list()) {
      if (found.manifest != null && kept < mostRecentK && found.hasItsFiles()) {
        kept++;
      } else if (found.manifest != null && kept > 0) {
        // First out of sight: half a checkpoint under its own name would look like a broken one.
        Path discarded = temporary(found.directory);
        Disk.move(found.directory, discarded);
        Disk.deleteTree(discarded);
      }
    }
  }

  private static void report(
      Path directory, String problem, List<String> problems, Consumer<String> warnings) {
    // One that was pruned while we looked is not broken.
    if (Files.isDirectory(directory)) {
      problems.add(problem);
      warnings.accept("checkpoint " + directory + " cannot be used: " + problem);
    }
  }

  private Optional<Checkpoint> none(List<String> problems) throws IOException {
    if (!problems.isEmpty()) {
      throw new IOException(
          "no checkpoint in " + root + " can be used: " + String.join("; ", problems));
    }
    Path tracker = root.resolve(TRACKER);
    if (Files.exists(tracker)) {
      throw new IOException(
          tracker + " says that there are checkpoints, but " + root + " has none");
    }
    return Optional.empty();
  }

  private void warnAboutLeftovers(Consumer<String> warnings) throws IOException {
    for (String name : names()) {
      if (isLeftover(name)) {
        warnings.accept(
            "passing over "
                + root.resolve(name)
                + ": a checkpoint that was not written to its end");
      }
    }
  }

  private void warnAboutTracker(Checkpoint checkpoint, Consumer<String> warnings)
      throws IOException {
    OptionalLong tracked = tracked();
    long iteration = checkpoint.info().iteration();
    if (tracked.isEmpty()) {
      warnings.accept(
          root.resolve(TRACKER)
              + " is missing or no number; using the checkpoint saved last, "
              + checkpoint.directory());
    } else if (tracked.getAsLong() != iteration) {
      warnings.accept(
          String.format(
              "%s says %d; using the whole checkpoint saved last, %s",
              root.resolve(TRACKER), tracked.getAsLong(), checkpoint.directory()));
    }
  }

  private OptionalLong tracked() throws IOException {
    Path tracker = root.resolve(TRACKER);
    if (!Files.exists(tracker)) {
      return OptionalLong.empty();
    }
    String text = new String(Files.readAllBytes(tracker), StandardCharsets.ISO_8859_1).strip();
    return text.matches("\\d{1,18}") ? OptionalLong.of(Long.parseLong(text)) : OptionalLong.empty();
  }
}
