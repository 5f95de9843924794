package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** Checkpoints that several ranks save and load together. */
public class RanksTest {
  private static final Set<Section> ALL = EnumSet.allOf(Section.class);

  private final Random random = Seeds.random(RanksTest.class);
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

  @Test
  public void anyLayoutLoadsWhatAnyOtherSaved() throws Exception {
    for (int size = 1; size <= 5; size++) {
      Path directory = shared.save(size, size);
      assertEquals(directory, root.resolve("iter_000000" + size));
      for (int readers = 1; readers <= 4; readers++) {
        shared.assertLatest(size, readers);
        assertEquals(shared.warnings, List.of());
      }
    }
    assertEquals(
        SharedModel.names(root.resolve("iter_0000004")),
        List.of(
            "manifest.json",
            "model_00000-of-00004.safetensors",
            "model_00001-of-00004.safetensors",
            "model_00002-of-00004.safetensors",
            "model_00003-of-00004.safetensors",
            "optimizer_00000-of-00004.safetensors",
            "optimizer_00002-of-00004.safetensors"));
    assertEquals(Files.readString(root.resolve(CheckpointFolder.TRACKER)), "5\n");
    ThreadRanks.succeed(
        2,
        ranks -> {
          CheckpointStore store = new CheckpointStore(root, -1, ranks);
          try (Checkpoint checkpoint = store.load(3, EnumSet.of(Section.MODEL))) {
            assertEquals(checkpoint.info().toString(), Samples.info(3).toString());
            SharedModel.read(checkpoint, shared.rows, Slice.whole(shared.rows.tensor().shape()));
          }
          return null;
        });
    for (ThreadRanks.Outcome<Checkpoint> outcome :
        ThreadRanks.run(2, ranks -> new CheckpointStore(root, -1, ranks).load(9, ALL))) {
      assertEquals(
          outcome.failure().getMessage(),
          root + " has no checkpoint of iteration 9; it has [1, 2, 3, 4, 5]");
    }
  }

  @Test
  public void theMostRecentKAreKept() throws Exception {
    for (long i = 1; i <= 4; i++) {
      long iteration = i;
      ThreadRanks.succeed(
          3,
          ranks ->
              new CheckpointStore(root, 2, ranks)
                  .save(Samples.info(iteration), shared.model(ranks.rank(), 3), List.of()));
    }
    assertEquals(
        SharedModel.names(root), List.of("iter_0000003", "iter_0000004", CheckpointFolder.TRACKER));
  }

  @Test
  public void whereThereNeverWasACheckpointAllRanksHaveNone() throws Exception {
    for (Optional<Checkpoint> none : ThreadRanks.succeed(3, shared::latest)) {
      assertTrue(none.isEmpty());
    }
    Files.writeString(root.resolve(CheckpointFolder.TRACKER), "5");
    for (ThreadRanks.Outcome<Optional<Checkpoint>> outcome : ThreadRanks.run(3, shared::latest)) {
      assertTrue(
          outcome.failure().getMessage().endsWith(", but " + root + " has none"),
          outcome.failure().getMessage());
    }
  }

  /** Whichever rank has the file to verify, all pass the checkpoint over. */
  @Test
  public void aCorruptByteInAnyFileMakesAllRanksFallBack() throws Exception {
    Path good = shared.save(100, 4);
    Path bad = shared.save(200, 4);
    for (String name : SharedModel.names(bad)) {
      Path file = bad.resolve(name);
      byte[] bytes = Files.readAllBytes(file);
      byte[] flipped = bytes.clone();
      flipped[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
      Files.write(file, flipped);
      for (int size = 1; size <= 4; size++) {
        shared.assertLatest(100, size);
        String said = String.join("\n", shared.warnings);
        assertTrue(said.contains("checkpoint " + bad + " cannot be used: "), said);
        assertTrue(said.contains(file.toString()), said);
        assertTrue(said.contains("using checkpoint " + good + " instead"), said);
        // Rank 0 alone says so: broken, another used, and what the tracker file says.
        assertEquals(shared.warnings.size(), 3, said);
      }
      Files.write(file, bytes);
    }
    shared.assertLatest(200, 3);
    Files.delete(bad.resolve(Section.MODEL.fileName(2, 4)));
    shared.assertLatest(100, 3);
    Files.write(good.resolve(Section.MODEL.fileName(1, 4)), new byte[3]);
    List<ThreadRanks.Outcome<Optional<Checkpoint>>> outcomes = ThreadRanks.run(3, shared::latest);
    for (ThreadRanks.Outcome<Optional<Checkpoint>> outcome : outcomes) {
      String message = outcome.failure().getMessage();
      assertTrue(message.startsWith("no checkpoint in " + root + " can be used: "), message);
      assertTrue(message.contains("model_00001-of-00004") && message.contains("model_00002-of"));
    }
  }

  @Test
  public void ranksThatAskForDifferentSectionsAreRefused() throws Exception {
    Path directory = shared.save(100, 2);
    for (ThreadRanks.Outcome<Checkpoint> outcome :
        ThreadRanks.run(
            2,
            ranks ->
                new CheckpointStore(root, -1, ranks)
                    .load(100, ranks.rank() == 0 ? ALL : EnumSet.of(Section.MODEL)))) {
      String message = outcome.failure().getMessage();
      assertTrue(message.startsWith(directory + " is not the same to all ranks"), message);
    }
  }

  /** What a rank left unverified it opens when it reads of it. */
  @Test
  public void filesAreOpenedWhenRead() throws Exception {
    shared.save(100, 4);
    ThreadRanks.succeed(
        3,
        ranks -> {
          Checkpoint checkpoint = shared.latest(ranks).orElseThrow();
          assertEquals(checkpoint.openFiles(), 2);
          int before = checkpoint.openFiles();
          SharedModel.read(checkpoint, shared.norm, Slice.whole(shared.norm.tensor().shape()));
          assertTrue(checkpoint.openFiles() <= before + 1);
          SharedModel.read(
              checkpoint, shared.columns, Slice.whole(shared.columns.tensor().shape()));
          assertTrue(checkpoint.openFiles() >= 4);
          checkpoint.close();
          try {
            SharedModel.read(
                checkpoint, shared.moment, Slice.whole(shared.moment.tensor().shape()));
          } catch (IOException closed) {
            return closed;
          }
          throw new AssertionError("a closed checkpoint was read");
        });
  }

  /** A file that changed after another rank had verified it is not taken for another. */
  @Test
  public void aFileOpenedLateIsCheckedAgainstTheManifest() throws Exception {
    Path directory = shared.save(100, 2);
    ThreadRanks.succeed(
        2,
        ranks -> {
          try (Checkpoint checkpoint = shared.latest(ranks).orElseThrow()) {
            // Both have opened it; each holds two files of the four at most.
            ranks.exchange(new byte[0]);
            if (ranks.rank() == 0) {
              for (String name : SharedModel.names(directory)) {
                Files.move(directory.resolve(name), directory.resolve(name + ".old"));
                Files.write(directory.resolve(name), new byte[50]);
              }
            }
            ranks.exchange(new byte[0]);
            try {
              shared.verify(checkpoint, ranks.rank(), 2);
            } catch (IOException e) {
              assertTrue(e.getMessage().contains(directory.toString()), e.getMessage());
              return null;
            }
            throw new AssertionError("a replaced file was read");
          }
        });
  }

  @Test
  public void filesAreSharedOutEvenly() {
    for (int round = 0; round < 200; round++) {
      List<Manifest.FileEntry> files = new ArrayList<>();
      long largest = 0;
      for (int i = random.nextInt(40); i > 0; i--) {
        long bytes = random.nextInt(1000);
        largest = Math.max(largest, bytes);
        files.add(new Manifest.FileEntry("f" + i, Section.MODEL, bytes, ""));
      }
      int size = 1 + random.nextInt(10);
      List<String> dealt = new ArrayList<>();
      List<Long> loads = new ArrayList<>();
      for (int rank = 0; rank < size; rank++) {
        Collections.shuffle(files, random);
        Collection<String> share = Checkpoint.share(files, rank, size);
        dealt.addAll(share);
        loads.add(
            files.stream()
                .filter(file -> share.contains(file.name()))
                .mapToLong(Manifest.FileEntry::bytes)
                .sum());
      }
      Collections.sort(dealt);
      assertEquals(dealt, files.stream().map(Manifest.FileEntry::name).sorted().toList());
      assertTrue(Collections.max(loads) - Collections.min(loads) <= largest, loads.toString());
    }
  }
}
