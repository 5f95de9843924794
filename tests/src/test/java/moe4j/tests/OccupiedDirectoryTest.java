package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Stream;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** A run does not replace what another has saved, unless it is told to. */
public class OccupiedDirectoryTest {
  private final Random random = Seeds.random(OccupiedDirectoryTest.class);
  private Workspace workspace;
  private List<String> base;
  private Path old;

  @BeforeClass
  public void makeARun() throws IOException {
    workspace = new Workspace();
    Path corpus = workspace.corpus("corpus", random, 100);
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 8 --num-attention-heads 1 --seq-length 8"
                + " --micro-batch-size 2 --lr 1e-2 --tokenizer-type ByteTokenizer --split 80,20,0"
                + " --make-vocab-size-divisible-by 1 --eval-iters 1 --eval-interval 2"
                + " --log-interval 1 --num-threads 1 --data-path",
            corpus);
    old = workspace.path("old");
    Cli.run(
            Cli.with(
                base,
                "--train-iters 4 --save-interval 2 --keep-best --run-name the-old-one --save",
                old,
                "--tensorboard-dir",
                old.resolve("tensorboard")))
        .ok();
  }

  @AfterClass
  public void deleteFiles() throws IOException {
    workspace.close();
  }

  /** A directory with the old run in it. */
  private Path occupied(String name) throws IOException {
    Path directory = workspace.path(name);
    Workspace.copy(old, directory);
    return directory;
  }

  /** What a run has left, by its path, but for who saved last. */
  private static Map<String, Integer> files(Path directory) throws IOException {
    Map<String, Integer> files = new TreeMap<>();
    try (Stream<Path> all = Files.walk(directory)) {
      for (Path file : all.filter(Files::isRegularFile).toList()) {
        String name = directory.relativize(file).toString();
        if (!name.startsWith("run.")) {
          files.put(name, java.util.Arrays.hashCode(Files.readAllBytes(file)));
        }
      }
    }
    return files;
  }

  private Cli.Result run(String words, Object... more) {
    return Cli.run(Cli.with(base, words, more));
  }

  private String refused(Path save, String words, Object... more) throws IOException {
    Map<String, Integer> before = files(save);
    List<Object> all = new ArrayList<>(List.of(more));
    all.add("--save");
    all.add(save);
    Cli.Result result = run(words, all.toArray());
    assertEquals(result.status(), 2, result.out() + result.err());
    assertEquals(files(save), before);
    // Nothing was allocated, nor printed that stands before a run.
    assertFalse(result.out().contains("number of parameters"), result.out());
    return result.err();
  }

  @Test
  public void aFreshRunSaysWhatLiesThereAndTheWaysOn() throws IOException {
    Path save = occupied("fresh");
    String said = refused(save, "--train-iters 1 --most-recent-k 1");
    assertTrue(
        said.startsWith(
            "moe4j pretrain-gpt: --save %s holds the run 'the-old-one', at iteration 4, saved 2"
                .formatted(save)),
        said);
    assertTrue(said.contains(": --load %s goes on with it".formatted(save)), said);
    assertTrue(said.contains("another --save leaves it alone"), said);
    assertTrue(said.contains("--overwrite starts anew and keeps it in " + save), said);
    assertEquals(said.lines().count(), 1, said);
  }

  @Test
  public void soDoesOneThatWouldReplaceTheBestAlone() throws IOException {
    Path save = occupied("best-alone");
    Workspace.delete(save.resolve("iter_0000002"));
    Workspace.delete(save.resolve("iter_0000004"));
    Files.delete(save.resolve("latest_checkpointed_iteration.txt"));
    String said = refused(save, "--train-iters 1");
    assertTrue(said.contains("(its best checkpoint alone)"), said);
    assertTrue(said.contains("--load %s takes its weights".formatted(save.resolve("best"))), said);
    // --load with nothing to go on from would start from nothing.
    refused(save, "--train-iters 1", "--load", save);
  }

  @Test
  public void soDoWeightsFromElsewhereAndACopy() throws IOException {
    Path save = occupied("taken");
    Path other = occupied("copy");
    refused(save, "--train-iters 6", "--load", other);
    refused(save, "--train-iters 6 --finetune", "--load", other);
    refused(save, "--train-iters 6", "--load", workspace.path("nothing-here"));
    String itself = refused(save, "--train-iters 6 --finetune", "--load", save);
    assertTrue(itself.contains("without --finetune goes on with it"), itself);
    String both = refused(save, "--train-iters 6 --overwrite", "--load", save);
    assertTrue(both.contains("--overwrite starts anew: only one of them can be"), both);
  }

  @Test
  public void whoGoesOnIsLetIn() throws IOException {
    Path save = occupied("on");
    // By another of its names.
    Path same = save.resolve("..").resolve("on");
    run("--train-iters 6", "--load", same, "--save", save).ok();
    assertTrue(Files.exists(save.resolve("iter_0000006")));
    assertEquals(RunRecord.of(save).steps(), List.of(1, 2, 3, 4, 5, 6));
  }

  @DataProvider
  public Object[][] beginnings() {
    return new Object[][] {{"anew", ""}, {"tuned", "--finetune --load"}};
  }

  /** Nothing of the old run is lost, wherever the new one gets. */
  @Test(dataProvider = "beginnings")
  public void overwriteMovesTheOldRunAside(String name, String load) throws IOException {
    Path save = occupied(name);
    Files.writeString(save.resolve("notes.txt"), "mine");
    Map<String, Integer> before = files(old);
    for (int time = 1; time <= 2; time++) {
      Cli.Result result =
          load.isEmpty()
              ? run("--train-iters 1 --overwrite --run-name new --save", save)
              : run(
                  "--train-iters 1 --overwrite --run-name new --save",
                  save,
                  "--finetune",
                  "--load",
                  save);
      result.ok();
      List<Path> aside = aside(save);
      assertEquals(aside.size(), time);
      assertTrue(result.out().contains(" lies in " + aside.get(time - 1)), result.out());
      assertEquals(RunRecord.of(save).steps(), List.of(1));
      assertTrue(Files.exists(save.resolve("iter_0000001")));
      assertFalse(Files.exists(save.resolve("iter_0000004")));
      assertFalse(Files.exists(save.resolve("best")));
      if (!load.isEmpty()) {
        assertTrue(result.out().contains("loaded checkpoint " + aside.get(time - 1)), result.out());
      }
    }
    assertEquals(files(aside(save).get(0)), before);
    assertEquals(Files.readString(save.resolve("notes.txt")), "mine");
  }

  private static List<Path> aside(Path save) throws IOException {
    try (Stream<Path> all = Files.list(save)) {
      return all.filter(path -> path.getFileName().toString().startsWith("old-")).sorted().toList();
    }
  }

  @Test
  public void autoResumeStartsAndGoesOn() throws IOException {
    Path save = workspace.path("auto");
    String flags = "--auto-resume --train-iters 6 --exit-interval 3 --save";
    run(flags, save, "--finetune", "--load", old).ok();
    assertEquals(RunRecord.of(save).steps(), List.of(1, 2, 3));
    // The same line again, as a scheduler gives it.
    Cli.Result second = run(flags, save, "--finetune", "--load", old).ok();
    assertTrue(second.out().contains("of iteration 3"), second.out());
    assertEquals(RunRecord.of(save).steps(), List.of(1, 2, 3, 4, 5, 6));
  }
}
