package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.function.UnaryOperator;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** Saves and loads that fail on one of several ranks. */
public class RankFailuresTest {
  private final Random random = Seeds.random(RankFailuresTest.class);
  private SharedModel shared;
  private Path root;

  @BeforeMethod
  public void create() throws IOException {
    shared = new SharedModel(random);
    root = shared.root;
  }

  @AfterMethod(alwaysRun = true)
  public void delete() throws IOException {
    Disk.deleteTree(root);
  }

  /** Nobody has a checkpoint of 200, all say why, and that of 100 is as it was. */
  private void assertNotSaved(List<? extends ThreadRanks.Outcome<?>> outcomes, String reason)
      throws Exception {
    String sentence =
        "checkpoint %s was not saved: %s; the checkpoints before it are untouched"
            .formatted(root.resolve("iter_0000200"), reason);
    for (ThreadRanks.Outcome<?> outcome : outcomes) {
      assertTrue(outcome.failure() instanceof IOException, String.valueOf(outcome.failure()));
      assertEquals(outcome.failure().getMessage(), sentence);
    }
    assertEquals(SharedModel.names(root), List.of("iter_0000100", CheckpointFolder.TRACKER));
    shared.assertLatest(100, 2);
    assertEquals(shared.warnings, List.of());
  }

  @Test
  public void aRanksFullDiskFailsTheSaveOnAllRanks() throws Exception {
    Path directory = shared.save(100, 4);
    for (int full = 0; full < 4; full++) {
      int rank = full;
      long size = Files.size(directory.resolve(Section.MODEL.fileName(rank, 4)));
      long[] left = {random.nextInt((int) size)};
      assertNotSaved(
          ThreadRanks.run(
              4,
              ranks -> {
                UnaryOperator<WritableByteChannel> disk =
                    ranks.rank() == rank
                        ? file -> Samples.limited(file, left)
                        : UnaryOperator.identity();
                return new CheckpointStore(root, -1, ranks, disk)
                    .save(
                        Samples.info(200),
                        shared.model(ranks.rank(), 4),
                        shared.optimizer(ranks.rank(), 4));
              }),
          "rank " + rank + ": No space left on device");
    }
  }

  @Test
  public void whateverASourceThrowsFailsTheSaveOnAllRanks() throws Exception {
    shared.save(100, 3);
    List<Throwable> failures =
        List.of(
            new IllegalStateException("CUDA error: out of memory\nException raised from malloc"),
            new OutOfMemoryError("Java heap space"));
    List<String> reasons =
        List.of("CUDA error: out of memory", "java.lang.OutOfMemoryError: Java heap space");
    for (int i = 0; i < failures.size(); i++) {
      Throwable failure = failures.get(i);
      List<ThreadRanks.Outcome<Path>> outcomes =
          ThreadRanks.run(
              3,
              ranks -> {
                List<TensorSource> sources = shared.model(ranks.rank(), 3);
                if (ranks.rank() == 2) {
                  sources.add(TensorSource.whole("z", Dtype.U8, List.of(4L), failing(failure)));
                }
                return new CheckpointStore(root, -1, ranks)
                    .save(Samples.info(200), sources, shared.optimizer(ranks.rank(), 3));
              });
      assertNotSaved(outcomes, "rank 2: " + reasons.get(i));
      assertEquals(outcomes.get(2).failure().getCause().getCause(), failure);
    }
  }

  private static TensorSource.Content failing(Throwable failure) {
    return sink -> {
      sink.write(ByteBuffer.allocate(3));
      if (failure instanceof Error error) {
        throw error;
      }
      throw (RuntimeException) failure;
    };
  }

  /** Rank 0 alone touches the directory above the files. */
  @Test
  public void whatFailsOnRank0AloneFailsOnAllRanks() throws Exception {
    Path file = Files.createFile(root.resolve("file"));
    for (ThreadRanks.Outcome<Path> outcome :
        ThreadRanks.run(
            3,
            ranks ->
                new CheckpointStore(file.resolve("under"), -1, ranks)
                    .save(Samples.info(1), shared.model(ranks.rank(), 3), List.of()))) {
      String message = String.valueOf(outcome.failure().getMessage());
      assertTrue(message.contains(" was not saved: rank 0: "), message);
    }
  }

  @Test
  public void piecesThatDoNotFitAreRefusedOnAllRanks() throws Exception {
    shared.save(100, 3);
    Slice tooFew = Slice.of(new long[] {4, 0}, new long[] {3, 6});
    Slice tooMany = Slice.of(new long[] {3, 0}, new long[] {5, 6});
    assertNotSaved(
        saveRowsOfRank1As(shared.rows.source(tooFew)),
        "tensor rows.weight has pieces for 72 of its 78 elements");
    String overlap =
        "tensor rows.weight has overlapping pieces: Piece[file=%s, key=%s, slice=%s] and"
            + " Piece[file=%s, key=%s, slice=%s]";
    assertNotSaved(
        saveRowsOfRank1As(shared.rows.source(tooMany)),
        overlap.formatted(
            "model_00000-of-00003.safetensors",
            "rows.weight@0,0",
            SharedModel.band(shared.rows, 0, 0, 3),
            "model_00001-of-00003.safetensors",
            "rows.weight@3,0",
            tooMany));
    Samples.Filled other = Samples.filled(random, "rows.weight", Dtype.F32, List.of(13L, 6L));
    assertNotSaved(
        saveRowsOfRank1As(other.source(SharedModel.band(shared.rows, 0, 1, 3))),
        "tensor rows.weight is saved both as BF16 [13, 6] and as F32 [13, 6]");
  }

  private List<ThreadRanks.Outcome<Path>> saveRowsOfRank1As(TensorSource part)
      throws InterruptedException {
    return ThreadRanks.run(
        3,
        ranks -> {
          List<TensorSource> sources = shared.model(ranks.rank(), 3);
          if (ranks.rank() == 1) {
            sources.set(0, part);
          }
          return new CheckpointStore(root, -1, ranks)
              .save(Samples.info(200), sources, shared.optimizer(ranks.rank(), 3));
        });
  }

  @Test
  public void ranksThatSaveDifferentIterationsAreRefused() throws Exception {
    shared.save(100, 2);
    for (ThreadRanks.Outcome<Path> outcome :
        ThreadRanks.run(2, ranks -> shared.save(200 + ranks.rank(), ranks))) {
      String message = outcome.failure().getMessage();
      assertTrue(message.contains("rank 1 saves iter_0000201 where rank 0 saves"), message);
    }
    assertEquals(SharedModel.names(root), List.of("iter_0000100", CheckpointFolder.TRACKER));
  }

  /** Two machines with a directory of this name each. */
  @Test
  public void aFileSystemThatIsNotSharedIsRecognised() throws Exception {
    Path elsewhere = Files.createDirectory(root.resolve("elsewhere"));
    for (boolean leftover : new boolean[] {false, true}) {
      if (leftover) {
        Files.createDirectory(elsewhere.resolve("iter_0000200.tmp"));
      }
      for (ThreadRanks.Outcome<Path> outcome :
          ThreadRanks.run(
              2,
              ranks ->
                  new CheckpointStore(ranks.rank() == 0 ? root : elsewhere, -1, ranks)
                      .save(Samples.info(200), shared.model(ranks.rank(), 2), List.of()))) {
        String message = outcome.failure().getMessage();
        String reason = leftover ? "rank 0: there is no " : "rank 1: there is no ";
        assertTrue(message.contains(" was not saved: " + reason), message);
      }
      assertEquals(SharedModel.names(root), List.of("elsewhere"));
    }
  }

  /** The exchanges of a save: begun, written, fits, committed, tidied up. */
  @Test
  public void aRankThatVanishesStopsTheOthers() throws Exception {
    int size = 3;
    shared.save(100, size);
    for (int rank = 0; rank < size; rank++) {
      for (int exchange = 0; exchange < 5; exchange++) {
        int dying = rank;
        int at = exchange;
        List<ThreadRanks.Outcome<Path>> outcomes =
            ThreadRanks.run(
                size,
                ranks ->
                    shared.save(
                        200, ranks.rank() == dying ? ThreadRanks.dyingAt(at, ranks) : ranks));
        for (ThreadRanks.Outcome<Path> outcome : outcomes) {
          assertTrue(
              outcome.failure().getMessage().startsWith("lost the other ranks while "),
              outcome.failure().getMessage());
        }
        // Rank 0 has committed where all had reported that they were ready, and not before.
        boolean committed = at >= 3;
        Path directory = root.resolve("iter_0000200");
        assertEquals(Files.exists(directory), committed, dying + " at " + at);
        // Who knows whether somebody is still writing: until the next save nobody deletes it.
        Path begun = CheckpointFolder.temporary(directory);
        assertEquals(Files.exists(begun), !committed, dying + " at " + at);
        shared.assertLatest(committed ? 200 : 100, 2);
        Disk.deleteTree(directory);
        shared.save(50, size);
        assertFalse(SharedModel.names(root).contains("iter_0000200.tmp"));
        Disk.deleteTree(root.resolve("iter_0000050"));
      }
    }
    List<ThreadRanks.Outcome<Optional<Checkpoint>>> outcomes =
        ThreadRanks.run(
            3, ranks -> shared.latest(ranks.rank() == 1 ? ThreadRanks.dyingAt(1, ranks) : ranks));
    for (int rank = 0; rank < 3; rank++) {
      assertEquals(
          outcomes.get(rank).failure().getMessage(),
          "lost the other ranks while loading a checkpoint from %s: %s"
              .formatted(
                  root,
                  rank == 1
                      ? ThreadRanks.Death.class.getName()
                      : "a peer has closed the connection"));
    }
  }
}
