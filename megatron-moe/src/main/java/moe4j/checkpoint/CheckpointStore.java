package moe4j.checkpoint;

import java.io.IOException;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;

/**
 * A directory of checkpoints. A save either happens in full or leaves what was there; a load takes
 * the newest checkpoint that is whole and says why it passed over others.
 *
 * <p>The newest is the one saved last, as its manifest says. That is not always the highest
 * iteration: a run taken up again from an earlier checkpoint overtakes the ones it left behind. The
 * tracker file is for people and scripts; a save that dies just before writing it costs nothing.
 *
 * <p>One process saves into a directory at a time, or the {@link Ranks} of one run together, each
 * with files of its own on a file system that all of them share; any number may read. What ranks do
 * together succeeds on all of them or fails on all of them with the same sentence, which names the
 * rank that it failed on. Where a rank is gone, the others fail as soon as they hear of it, and
 * what was being saved is left unnamed for the next save to clear up.
 */
public final class CheckpointStore {
  private final Path root;
  private final int mostRecentK;
  private final JointSteps agreement;
  private final UnaryOperator<WritableByteChannel> wrapper;
  private final CheckpointFolder folder;

  /**
   * A store; nothing is created before the first save.
   *
   * @param mostRecentK how many checkpoints to keep; -1 keeps all
   * @throws IllegalArgumentException where it is 0 or below -1
   */
  public CheckpointStore(Path root, int mostRecentK) {
    this(root, mostRecentK, Ranks.alone());
  }

  /**
   * A store that ranks save into and load from together: all call {@link #save}, {@link
   * #loadLatest} and {@link #load} alike, at the same place.
   *
   * @param mostRecentK how many checkpoints to keep; -1 keeps all; rank 0's counts
   * @throws IllegalArgumentException where it is 0 or below -1
   */
  public CheckpointStore(Path root, int mostRecentK, Ranks ranks) {
    this(root, mostRecentK, ranks, UnaryOperator.identity());
  }

  /** A store whose writers use another disk, such as a test's disk that runs full. */
  CheckpointStore(
      Path root, int mostRecentK, Ranks ranks, UnaryOperator<WritableByteChannel> wrapper) {
    if (mostRecentK == 0 || mostRecentK < -1) {
      throw new IllegalArgumentException(
          "--most-recent-k is " + mostRecentK + "; it is a positive number, or -1 to keep all");
    }
    this.root = root;
    this.mostRecentK = mostRecentK;
    this.agreement = new JointSteps(ranks);
    this.wrapper = wrapper;
    this.folder = new CheckpointFolder(root);
  }

  /**
   * Finds out at the start whether saving will work: creates the directory and a file in it. Any
   * rank may ask, by itself.
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
   * <p>Of several ranks each gives the tensors and the parts of tensors that it holds, and writes
   * them into a file of its own for each section that it holds anything of. Together they give
   * every element once: what several ranks hold alike, one of them gives.
   *
   * @param info the same on all ranks; rank 0's is kept
   * @param optimizer empty where its state is not to be saved
   * @return its directory
   * @throws IOException where that fails: one sentence. The checkpoints before it are then
   *     untouched
   * @throws IllegalArgumentException where the tensors that a process by itself gives do not make
   *     up whole tensors; among several ranks that is an {@code IOException} on all of them, as is
   *     everything that a {@link TensorSource} throws
   */
  public Path save(CheckpointInfo info, List<TensorSource> model, List<TensorSource> optimizer)
      throws IOException {
    Path directory = root.resolve(CheckpointFolder.name(info.iteration()));
    try {
      write(directory, info, model, optimizer);
    } catch (JointSteps.LostRanksException e) {
      throw lost("saving checkpoint " + directory, e);
    } catch (IOException e) {
      throw new IOException(
          String.format(
              "checkpoint %s was not saved: %s; the checkpoints before it are untouched",
              directory, Disk.reason(e)),
          e);
    }
    try {
      agreement.all(
          () -> {
            if (agreement.isFirst()) {
              folder.track(info.iteration());
              folder.tidy();
              folder.prune(mostRecentK);
            }
            return JointSteps.NOTHING;
          });
    } catch (JointSteps.LostRanksException e) {
      throw lost("tidying up after saving checkpoint " + directory, e);
    } catch (IOException e) {
      throw new IOException(
          String.format(
              "checkpoint %s is saved, but %s could not be brought up to date: %s",
              directory, root, Disk.reason(e)),
          e);
    }
    return directory;
  }

  /** Writes all files and renames their directory, or leaves nothing. */
  private void write(
      Path directory, CheckpointInfo info, List<TensorSource> model, List<TensorSource> optimizer)
      throws IOException {
    CheckpointWriter writer = new CheckpointWriter(directory, wrapper);
    try {
      begin(writer, directory.getFileName().toString());
      List<byte[]> told =
          agreement.all(
              () -> {
                writer.join();
                return WrittenFile.encode(writeShards(writer, model, optimizer));
              });
      // Pieces that do not fit are no fault of rank 0, who finds out: they name their files.
      agreement.first(
          () -> {
            List<WrittenFile> shards = new ArrayList<>();
            for (byte[] each : told) {
              shards.addAll(WrittenFile.decode(each));
            }
            writer.prepare(Manifest.of(folder.timeOfSave(), info, shards));
            return JointSteps.NOTHING;
          });
      agreement.all(
          () -> {
            if (agreement.isFirst()) {
              writer.commit();
            }
            return JointSteps.NOTHING;
          });
    } catch (JointSteps.LostRanksException e) {
      // Somebody may still be writing: the next save clears up.
      throw e;
    } catch (IOException | RuntimeException | Error e) {
      discard(writer, e);
      throw e;
    }
  }

  private void begin(CheckpointWriter writer, String name) throws IOException {
    List<byte[]> names =
        agreement.all(
            () -> {
              if (agreement.isFirst()) {
                Disk.createDirectories(root);
                folder.tidy();
                writer.create();
              }
              return name.getBytes(StandardCharsets.UTF_8);
            });
    String first = new String(names.get(0), StandardCharsets.UTF_8);
    for (int rank = 1; rank < names.size(); rank++) {
      String other = new String(names.get(rank), StandardCharsets.UTF_8);
      if (!other.equals(first)) {
        throw new IOException("rank " + rank + " saves " + other + " where rank 0 saves " + first);
      }
    }
  }

  private List<WrittenFile> writeShards(
      CheckpointWriter writer, List<TensorSource> model, List<TensorSource> optimizer)
      throws IOException {
    List<WrittenFile> shards = new ArrayList<>();
    // A model without a tensor is a file without one, where no other rank has any.
    if (!model.isEmpty() || agreement.size() == 1) {
      shards.add(writer.write(Section.MODEL, agreement.rank(), agreement.size(), model));
    }
    if (!optimizer.isEmpty()) {
      shards.add(writer.write(Section.OPTIMIZER, agreement.rank(), agreement.size(), optimizer));
    }
    return shards;
  }

  private void discard(CheckpointWriter writer, Throwable failure) {
    if (agreement.isFirst()) {
      try {
        writer.discard();
      } catch (IOException e) {
        failure.addSuppressed(e);
      }
    }
  }

  private static IOException lost(String during, JointSteps.LostRanksException e) {
    return new IOException("lost the other ranks while " + during + ": " + e.getMessage(), e);
  }

  /**
   * Opens the newest checkpoint that is whole: the same one on all ranks. Each verifies its share
   * of the files, and what one finds broken all of them pass over.
   *
   * @param sections what is to be read, the same on all ranks; the rest is not verified
   * @param warnings told, a sentence each, of all that is broken or contradictory and of a fall
   *     back to an earlier checkpoint; of several ranks, rank 0's alone
   * @return empty where there never was a checkpoint
   * @throws IOException where there are checkpoints and none can be used
   */
  public Optional<Checkpoint> loadLatest(Set<Section> sections, Consumer<String> warnings)
      throws IOException {
    NewestCheckpoint search = new NewestCheckpoint(root, folder, warnings);
    try {
      while (true) {
        byte[] name =
            agreement.first(
                () -> search.next().map(CheckpointStore::told).orElse(JointSteps.NOTHING));
        if (name.length == 0) {
          return Optional.empty();
        }
        Path directory = root.resolve(new String(name, StandardCharsets.UTF_8));
        try {
          Checkpoint checkpoint = Checkpoint.open(directory, sections, agreement);
          if (agreement.isFirst()) {
            search.use(directory, checkpoint.info().iteration());
          }
          return Optional.of(checkpoint);
        } catch (JointSteps.LostRanksException e) {
          throw e;
        } catch (IOException e) {
          if (agreement.isFirst()) {
            search.report(directory, e.getMessage());
          }
        }
      }
    } catch (JointSteps.LostRanksException e) {
      throw lost("loading a checkpoint from " + root, e);
    }
  }

  /**
   * Opens one checkpoint, on all ranks.
   *
   * @throws IOException where it does not exist or is not whole
   */
  public Checkpoint load(long iteration, Set<Section> sections) throws IOException {
    try {
      byte[] name = agreement.first(() -> told(find(iteration)));
      return Checkpoint.open(
          root.resolve(new String(name, StandardCharsets.UTF_8)), sections, agreement);
    } catch (JointSteps.LostRanksException e) {
      throw lost("loading a checkpoint from " + root, e);
    }
  }

  private static byte[] told(Path directory) {
    return directory.getFileName().toString().getBytes(StandardCharsets.UTF_8);
  }

  private Path find(long iteration) throws IOException {
    List<CheckpointFolder.Found> found = folder.list();
    for (CheckpointFolder.Found each : found) {
      if (each.iteration() == iteration) {
        return each.directory();
      }
    }
    throw new IOException(
        String.format(
            "%s has no checkpoint of iteration %d; it has %s",
            root, iteration, found.isEmpty() ? "none" : iterations()));
  }

  /** The iterations that there are checkpoints of, ascending, whole or not. */
  public List<Long> iterations() throws IOException {
    return folder.list().stream().map(CheckpointFolder.Found::iteration).sorted().toList();
  }

  /**
   * The checkpoint saved last, by its manifest alone: its files are not looked at, nor verified. A
   * manifest that cannot be read still is one of a checkpoint, of which only the iteration is known
   * then.
   *
   * @return empty where there is no checkpoint
   */
  public Optional<CheckpointSummary> newest() throws IOException {
    for (CheckpointFolder.Found found : folder.list()) {
      CheckpointSummary summary = CheckpointSummary.of(found);
      // A run that saves meanwhile may have pruned it.
      if (summary.run() != null || Files.isDirectory(found.directory())) {
        return Optional.of(summary);
      }
    }
    return Optional.empty();
  }
}
