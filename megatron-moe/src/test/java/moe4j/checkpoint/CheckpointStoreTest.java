package moe4j.checkpoint;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class CheckpointStoreTest {
  private static final Set<Section> ALL = EnumSet.allOf(Section.class);
  private static final String MODEL = "model_00000-of-00001.safetensors";
  private static final String OPTIMIZER = "optimizer_00000-of-00001.safetensors";

  private final Random random = Seeds.random(CheckpointStoreTest.class);
  private final List<String> warnings = new ArrayList<>();
  private Path root;
  private List<Samples.Filled> model;
  private List<Samples.Filled> optimizer;

  @BeforeMethod
  public void create() throws IOException {
    root = Samples.directory();
    warnings.clear();
    model = Samples.filled(random, "decoder.layers.", 8);
    model.add(Samples.filled(random, "w", Dtype.F32, List.of(6L, 5L)));
    optimizer = Samples.filled(random, "optimizer.state.exp_avg.decoder.layers.", 8);
    optimizer.add(Samples.filled(random, "optimizer.state.exp_avg.w", Dtype.F32, List.of(6L, 5L)));
  }

  @AfterMethod(alwaysRun = true)
  public void delete() throws IOException {
    Disk.deleteTree(root);
  }

  @Test
  public void everythingComesBack() throws IOException {
    CheckpointInfo info = Samples.info(100);
    Path directory = save(100, -1);
    assertEquals(directory, root.resolve("iter_0000100"));
    assertEquals(names(root), List.of("iter_0000100", "latest_checkpointed_iteration.txt"));
    assertEquals(names(directory), List.of("manifest.json", MODEL, OPTIMIZER));
    assertEquals(Files.readString(root.resolve(CheckpointFolder.TRACKER)), "100\n");
    try (Checkpoint checkpoint = latest(ALL)) {
      assertEquals(checkpoint.info().toString(), info.toString());
      assertEquals(checkpoint.directory(), directory);
      assertTrue(checkpoint.contains("w"));
      verify(checkpoint, model);
      verify(checkpoint, optimizer);
      assertThrows(IOException.class, () -> checkpoint.tensor("nobody"));
      assertThrows(
          IllegalArgumentException.class,
          () -> checkpoint.read("w", Slice.whole(List.of(6L, 5L)), ByteBuffer.allocate(119)));
      assertThrows(
          IllegalArgumentException.class,
          () -> checkpoint.read("w", Slice.whole(List.of(7L, 5L)), ByteBuffer.allocate(140)));
    }
    assertEquals(warnings, List.of());
  }

  @Test
  public void theOptimizerMayBeLeftOut() throws IOException {
    Path directory = store(-1).save(Samples.info(1), Samples.sources(model), List.of());
    assertEquals(names(directory), List.of("manifest.json", MODEL));
    try (Checkpoint checkpoint = latest(ALL)) {
      verify(checkpoint, model);
      assertFalse(checkpoint.contains("optimizer.state.exp_avg.w"));
    }
  }

  @Test
  public void neverSavedIsEmptyAndNotAFailure() throws IOException {
    assertTrue(store(-1).loadLatest(ALL, warnings::add).isEmpty());
    CheckpointStore nowhere = new CheckpointStore(root.resolve("not/yet"), -1);
    assertTrue(nowhere.loadLatest(ALL, warnings::add).isEmpty());
    assertEquals(warnings, List.of());
    save(5, -1);
    IOException missing = expectThrows(IOException.class, () -> store(-1).load(7, ALL));
    assertEquals(missing.getMessage(), root + " has no checkpoint of iteration 7; it has [5]");
    Path file = Files.createFile(root.resolve("file"));
    assertThrows(
        IOException.class, () -> new CheckpointStore(file, -1).loadLatest(ALL, warnings::add));
  }

  @Test
  public void anyTruncationFallsBackAndSaysSo() throws IOException {
    save(100, -1);
    Path directory = save(200, -1);
    for (String name : names(directory)) {
      Path file = directory.resolve(name);
      byte[] bytes = Files.readAllBytes(file);
      for (int length = 0; length < bytes.length; length += 1 + random.nextInt(50)) {
        Files.write(file, Arrays.copyOf(bytes, length));
        fallsBack(file);
      }
      Files.write(file, Arrays.copyOf(bytes, bytes.length + 1));
      fallsBack(file);
      Files.delete(file);
      fallsBack(file);
      Files.write(file, bytes);
    }
    assertLatest(200);
    assertEquals(warnings, List.of());
  }

  @Test
  public void anyFlippedBitFallsBackAndSaysSo() throws IOException {
    save(100, -1);
    Path directory = save(200, -1);
    for (String name : names(directory)) {
      Path file = directory.resolve(name);
      byte[] bytes = Files.readAllBytes(file);
      for (int at = 0; at < bytes.length; at += 1 + random.nextInt(50)) {
        byte[] flipped = bytes.clone();
        flipped[at] ^= (byte) (1 << random.nextInt(8));
        Files.write(file, flipped);
        fallsBack(file);
      }
      Files.write(file, bytes);
    }
    assertLatest(200);
  }

  @Test
  public void allBrokenIsAFailureThatNamesThemAll() throws IOException {
    Path first = save(100, -1).resolve(MODEL);
    Path second = save(200, -1).resolve(Manifest.FILE_NAME);
    Files.write(first, new byte[10]);
    Files.write(second, new byte[10]);
    IOException failure =
        expectThrows(IOException.class, () -> store(-1).loadLatest(ALL, warnings::add));
    assertTrue(failure.getMessage().contains(first.toString()), failure.getMessage());
    assertTrue(failure.getMessage().contains(second.toString()), failure.getMessage());
    Disk.deleteTree(first.getParent());
    Disk.deleteTree(second.getParent());
    assertThrows(IOException.class, () -> store(-1).loadLatest(ALL, warnings::add));
  }

  /** Two checkpoints' files mixed up are each whole by themselves, but not what was saved. */
  @Test
  public void aFileOfAnotherCheckpointIsRecognised() throws IOException {
    Path first = save(100, -1);
    model.forEach(each -> random.nextBytes(each.bytes()));
    Path second = save(200, -1);
    Files.write(second.resolve(MODEL), Files.readAllBytes(first.resolve(MODEL)));
    fallsBack(second.resolve(MODEL));
  }

  @Test
  public void sectionsNotAskedForAreNotReadNorJudged() throws IOException {
    save(100, -1);
    Path directory = save(200, -1);
    Files.delete(directory.resolve(OPTIMIZER));
    try (Checkpoint checkpoint = latest(EnumSet.of(Section.MODEL))) {
      assertEquals(checkpoint.info().iteration(), 200);
      verify(checkpoint, model);
      assertThrows(
          IllegalArgumentException.class,
          () ->
              checkpoint.read(
                  "optimizer.state.exp_avg.w",
                  Slice.whole(List.of(6L, 5L)),
                  ByteBuffer.allocate(120)));
    }
    fallsBack(directory.resolve(OPTIMIZER));
  }

  /** Whichever step a save dies at, a complete checkpoint is the one that is loaded. */
  @Test
  public void aSaveThatDiedAtAnyStepIsPassedOver() throws IOException {
    save(100, -1);
    Path whole = save(200, -1);
    Path torn = root.resolve("iter_0000200.tmp");

    // Before the rename, with more and more of its files.
    Files.createDirectory(torn);
    Files.writeString(root.resolve(CheckpointFolder.TRACKER), "100");
    for (String name : List.of(MODEL, OPTIMIZER, Manifest.FILE_NAME)) {
      Files.move(whole.resolve(name), torn.resolve(name));
      Path hidden = Files.move(whole, root.resolve("hidden"));
      assertLatest(100);
      assertEquals(warnings.size(), 1);
      assertTrue(warnings.get(0).contains(torn.toString()), warnings.get(0));
      Files.move(hidden, whole);
    }

    // After it, before the tracker file.
    Files.delete(whole);
    Files.move(torn, whole);
    assertLatest(200);
    assertTrue(warnings.get(0).contains(CheckpointFolder.TRACKER + " says 100"), warnings.get(0));

    // The next save clears up.
    Files.createDirectory(torn);
    Files.write(torn.resolve(MODEL), new byte[10]);
    save(300, -1);
    assertFalse(Files.exists(torn));
    assertLatest(300);
    assertEquals(warnings, List.of());
  }

  @Test
  public void aTrackerIsNotNeeded() throws IOException {
    save(100, -1);
    save(200, -1);
    Path tracker = root.resolve(CheckpointFolder.TRACKER);
    for (String text : List.of("", "release", "300", "-1", "99999999999999999999")) {
      Files.writeString(tracker, text);
      assertLatest(200);
      assertEquals(warnings.size(), 1, warnings.toString());
    }
    Files.delete(tracker);
    assertLatest(200);
    assertEquals(warnings.size(), 1);
  }

  /** A run taken up again from an earlier checkpoint overtakes the ones it left behind. */
  @Test
  public void theLastSavedIsTheNewest() throws IOException {
    save(100, -1);
    save(300, -1);
    save(150, -1);
    assertLatest(150);
    assertEquals(warnings, List.of());
    Disk.deleteTree(root.resolve("iter_0000150"));
    assertLatest(300);
    save(310, 2);
    assertEquals(store(-1).iterations(), List.of(300L, 310L));
  }

  /** The checksums are right, but the file does not hold what the manifest says. */
  @Test
  public void aManifestThatContradictsItsFilesIsRefused() throws IOException {
    save(100, -1);
    Path file = save(200, -1).resolve(Manifest.FILE_NAME);
    Manifest manifest = Manifest.parse(file, Files.readAllBytes(file));
    Manifest.TensorEntry w = manifest.tensors().get("w");
    Manifest.Piece elsewhere = new Manifest.Piece(MODEL, "v", w.pieces().get(0).slice());
    for (Manifest.TensorEntry wrong :
        List.of(
            new Manifest.TensorEntry(Dtype.I32, w.shape(), w.pieces()),
            new Manifest.TensorEntry(w.dtype(), w.shape(), List.of(elsewhere)))) {
      Map<String, Manifest.TensorEntry> tensors = new HashMap<>(manifest.tensors());
      tensors.put("w", wrong);
      Manifest contradicting =
          new Manifest(1, manifest.created(), manifest.run(), manifest.files(), tensors);
      Files.write(file, contradicting.toBytes());
      fallsBack(file.resolveSibling(MODEL));
    }
  }

  @Test
  public void theOrderOfSavesSurvivesAClockSetBack() throws IOException {
    save(100, -1);
    Path directory = save(200, -1);
    Path file = directory.resolve(Manifest.FILE_NAME);
    Manifest manifest = Manifest.parse(file, Files.readAllBytes(file));
    Manifest future =
        new Manifest(
            Manifest.FORMAT_VERSION,
            Instant.now().plusSeconds(10_000).toString(),
            manifest.run(),
            manifest.files(),
            manifest.tensors());
    Files.write(file, future.toBytes());
    save(300, -1);
    assertLatest(300);
  }

  @Test
  public void keepsTheMostRecentK() throws IOException {
    for (long i = 1; i <= 5; i++) {
      save(i * 10, 2);
    }
    assertEquals(store(-1).iterations(), List.of(40L, 50L));
    save(60, 1);
    assertEquals(store(-1).iterations(), List.of(60L));
    save(70, -1);
    save(80, -1);
    save(90, -1);
    assertEquals(store(-1).iterations(), List.of(60L, 70L, 80L, 90L));
    assertThrows(IllegalArgumentException.class, () -> store(0));
    assertThrows(IllegalArgumentException.class, () -> store(-2));
  }

  /** A broken one is no substitute for a whole one, and a stranger's directory is not ours. */
  @Test
  public void pruningCountsWholeOnesAndLeavesStrangersAlone() throws IOException {
    save(10, -1);
    save(20, -1);
    Files.delete(save(30, -1).resolve(MODEL));
    Path stranger = Files.createDirectory(root.resolve("iter_0000005"));
    Files.createDirectory(stranger.resolve("mp_rank_00"));
    Path note = Files.createFile(root.resolve("notes.txt"));
    save(40, 2);
    assertEquals(store(-1).iterations(), List.of(5L, 20L, 40L));
    assertTrue(Files.exists(stranger.resolve("mp_rank_00")));
    assertTrue(Files.exists(note));
  }

  @Test
  public void savingAnIterationAgainReplacesIt() throws IOException {
    save(100, 1);
    model.forEach(each -> random.nextBytes(each.bytes()));
    Path directory = save(100, 1);
    assertEquals(names(root), List.of("iter_0000100", CheckpointFolder.TRACKER));
    try (Checkpoint checkpoint = latest(ALL)) {
      verify(checkpoint, model);
    }
    // It died between the two renames: the old one is there under another name.
    Files.move(directory, root.resolve("iter_0000100.replaced"));
    assertLatest(100);
    assertEquals(store(-1).iterations(), List.of(100L));
    save(200, -1);
    assertEquals(store(-1).iterations(), List.of(100L, 200L));
    assertTrue(Files.exists(directory));
    // It died after them: the new one counts.
    Samples.copy(directory, root.resolve("iter_0000100.replaced"));
    assertEquals(store(-1).iterations(), List.of(100L, 200L));
    save(300, -1);
    assertFalse(Files.exists(root.resolve("iter_0000100.replaced")));
  }

  @Test
  public void aFullDiskLeavesWhatWasThere() throws IOException {
    save(100, 1);
    long size =
        Files.size(root.resolve("iter_0000100").resolve(MODEL))
            + Files.size(root.resolve("iter_0000100").resolve(OPTIMIZER));
    for (long room = 0; room < size; room += 1 + random.nextInt(100)) {
      long[] left = {room};
      CheckpointStore full =
          new CheckpointStore(root, 1, Ranks.alone(), file -> Samples.limited(file, left));
      IOException failure =
          expectThrows(
              IOException.class,
              () ->
                  full.save(Samples.info(200), Samples.sources(model), Samples.sources(optimizer)));
      assertEquals(
          failure.getMessage(),
          "checkpoint "
              + root.resolve("iter_0000200")
              + " was not saved: No space left on device; the checkpoints before it are untouched");
      assertEquals(names(root), List.of("iter_0000100", CheckpointFolder.TRACKER));
    }
    assertLatest(100);
    assertEquals(warnings, List.of());
  }

  @Test
  public void aSourceThatFailsLeavesWhatWasThere() throws IOException {
    save(100, 1);
    TensorSource failing =
        TensorSource.whole(
            "z",
            Dtype.U8,
            List.of(4L),
            sink -> {
              throw new IllegalStateException("the tensor is gone");
            });
    List<TensorSource> sources = new ArrayList<>(Samples.sources(model));
    sources.add(failing);
    assertThrows(
        IllegalStateException.class, () -> store(1).save(Samples.info(200), sources, List.of()));
    TensorSource half = model.get(8).source(Slice.of(new long[] {0, 0}, new long[] {3, 5}));
    assertThrows(
        IllegalArgumentException.class,
        () -> store(1).save(Samples.info(200), List.of(half), List.of()));
    assertEquals(names(root), List.of("iter_0000100", CheckpointFolder.TRACKER));
    assertLatest(100);
  }

  @Test
  public void anUnwritableDirectoryIsFoundOutAtTheStart() throws IOException {
    Path fresh = root.resolve("a/b/c");
    CheckpointStore.checkWritable(fresh);
    CheckpointStore.checkWritable(fresh);
    assertEquals(names(fresh), List.of());
    Path link = Files.createSymbolicLink(root.resolve("link"), fresh);
    CheckpointStore.checkWritable(link);
    Path file = Files.createFile(root.resolve("file"));
    for (Path path : List.of(file, file.resolve("under"))) {
      IOException failure =
          expectThrows(IOException.class, () -> CheckpointStore.checkWritable(path));
      assertTrue(
          failure.getMessage().startsWith("cannot save checkpoints in " + path + ": "),
          failure.getMessage());
    }
  }

  /** Written as four rectangles in two files, read across all of them. */
  @Test
  public void slicesOfOneTensorInSeveralFilesAreAssembled() throws IOException {
    Samples.Filled matrix = Samples.filled(random, "w", Dtype.BF16, List.of(9L, 7L));
    Samples.Filled shared = Samples.filled(random, "norm", Dtype.F32, List.of(7L));
    Path directory = root.resolve("iter_0000100");
    CheckpointWriter writer = new CheckpointWriter(directory, file -> file);
    writer.create();
    WrittenFile left =
        writer.write(
            Section.MODEL,
            0,
            2,
            List.of(
                matrix.source(Slice.of(new long[] {0, 0}, new long[] {2, 4})),
                matrix.source(Slice.of(new long[] {2, 0}, new long[] {7, 4})),
                shared.source()));
    WrittenFile right =
        writer.write(
            Section.MODEL,
            1,
            2,
            List.of(
                matrix.source(Slice.of(new long[] {5, 4}, new long[] {4, 3})),
                matrix.source(Slice.of(new long[] {0, 4}, new long[] {5, 3}))));
    writer.prepare(Manifest.of(Instant.now(), Samples.info(100), List.of(left, right)));
    writer.commit();
    assertEquals(
        names(directory),
        List.of(
            "manifest.json",
            "model_00000-of-00002.safetensors",
            "model_00001-of-00002.safetensors"));
    try (Checkpoint checkpoint = latest(ALL)) {
      verify(checkpoint, List.of(matrix, shared));
      Slice across = Slice.of(new long[] {1, 2}, new long[] {6, 4});
      ByteBuffer part = ByteBuffer.allocateDirect(48);
      checkpoint.read("w", across, part);
      assertEquals(part.flip(), ByteBuffer.wrap(matrix.part(across)));
      for (int round = 0; round < 100; round++) {
        Slice slice = Samples.slice(random, matrix.tensor().shape());
        ByteBuffer target = ByteBuffer.allocate(matrix.part(slice).length);
        checkpoint.read("w", slice, target);
        assertEquals(target.array(), matrix.part(slice), slice.toString());
      }
    }
  }

  @Test
  public void readersDoNotDisturbEachOtherNorASave() throws Exception {
    save(100, 1);
    ExecutorService threads = Executors.newFixedThreadPool(4);
    try (Checkpoint checkpoint = latest(ALL)) {
      List<Future<Void>> readers = new ArrayList<>();
      Callable<Void> reading =
          () -> {
            for (int round = 0; round < 20; round++) {
              verify(checkpoint, model);
              verify(checkpoint, optimizer);
              // The checkpoint it is about to open may be the one that is pruned just now.
              List<String> said = new ArrayList<>();
              try (Checkpoint another = store(-1).loadLatest(ALL, said::add).orElseThrow()) {
                verify(another, model);
              }
              assertFalse(said.toString().contains("cannot be used"), said.toString());
            }
            return null;
          };
      for (int i = 0; i < 4; i++) {
        readers.add(threads.submit(reading));
      }
      for (long i = 2; i < 30; i++) {
        save(100 * i, 1);
      }
      for (Future<Void> reader : readers) {
        reader.get();
      }
    } finally {
      threads.shutdownNow();
    }
  }

  @Test
  public void aReaderFindsWhatReplacesTheCheckpointsPrunedUnderItsEyes() throws Exception {
    save(1, 1);
    AtomicBoolean saving = new AtomicBoolean(true);
    ExecutorService threads = Executors.newFixedThreadPool(3);
    try {
      List<Future<Long>> readers = new ArrayList<>();
      for (int i = 0; i < 3; i++) {
        readers.add(
            threads.submit(
                () -> {
                  long last = 0;
                  while (saving.get()) {
                    try (Checkpoint found =
                        store(-1).loadLatest(Set.of(), warning -> {}).orElseThrow()) {
                      assertTrue(found.info().iteration() >= last);
                      last = found.info().iteration();
                    }
                  }
                  return last;
                }));
      }
      for (long i = 2; i < 150; i++) {
        store(1).save(Samples.info(i), List.of(), List.of());
      }
      saving.set(false);
      for (Future<Long> reader : readers) {
        assertTrue(reader.get() > 1);
      }
    } finally {
      saving.set(false);
      threads.shutdownNow();
    }
  }

  private CheckpointStore store(int mostRecentK) {
    return new CheckpointStore(root, mostRecentK);
  }

  private Path save(long iteration, int mostRecentK) throws IOException {
    return store(mostRecentK)
        .save(Samples.info(iteration), Samples.sources(model), Samples.sources(optimizer));
  }

  private Checkpoint latest(Set<Section> sections) throws IOException {
    warnings.clear();
    Optional<Checkpoint> checkpoint = store(-1).loadLatest(sections, warnings::add);
    return checkpoint.orElseThrow();
  }

  private void assertLatest(long iteration) throws IOException {
    try (Checkpoint checkpoint = latest(ALL)) {
      assertEquals(checkpoint.info().iteration(), iteration);
    }
  }

  /** Iteration 100 is used, and it is said that 200 was not, because of this file. */
  private void fallsBack(Path file) throws IOException {
    assertLatest(100);
    String said = String.join("\n", warnings);
    assertTrue(said.contains("iter_0000200 cannot be used: "), said);
    assertTrue(said.contains(file.toString()), said);
    assertTrue(said.contains("using checkpoint " + root.resolve("iter_0000100")), said);
  }

  private void verify(Checkpoint checkpoint, List<Samples.Filled> tensors) throws IOException {
    for (Samples.Filled each : tensors) {
      StoredTensor tensor = each.tensor();
      assertEquals(checkpoint.tensor(tensor.name()), tensor);
      ByteBuffer whole = ByteBuffer.allocate(each.bytes().length);
      checkpoint.read(tensor.name(), Slice.whole(tensor.shape()), whole);
      assertEquals(whole.array(), each.bytes());
      ByteBuffer joined = ByteBuffer.allocate(each.bytes().length);
      checkpoint.read(
          tensor.name(),
          Slice.whole(tensor.shape()),
          24,
          (offset, bytes) -> {
            assertEquals(offset, joined.position());
            joined.put(bytes);
          });
      assertEquals(joined.array(), each.bytes());
    }
  }

  private static List<String> names(Path directory) throws IOException {
    try (Stream<Path> paths = Files.list(directory)) {
      return paths.map(path -> path.getFileName().toString()).sorted().toList();
    }
  }
}
