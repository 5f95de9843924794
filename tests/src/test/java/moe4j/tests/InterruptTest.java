package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import moe4j.testing.Seeds;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Ctrl-C, and what else a terminal sends, to runs in processes of their own. */
public class InterruptTest {
  /** Long enough for any machine; a test that waits so long fails. */
  private static final long PATIENCE_SECONDS = 120;

  private static final String NOTED = ": the run ends with this step and saves; a second";

  private final Random random = Seeds.random(InterruptTest.class);
  private Workspace workspace;
  private List<String> base;

  @BeforeClass
  public void makeCorpus() throws IOException {
    if (Cli.heeding("INT").isEmpty()) {
      throw new SkipException("env has no --default-signal: SIGINT may be ignored here");
    }
    workspace = new Workspace();
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --lr 1e-2 --tokenizer-type ByteTokenizer --eval-iters 0"
                + " --log-interval 1 --num-threads 1 --train-iters 1000000 --data-path",
            workspace.corpus("corpus", random, 100));
  }

  @AfterClass(alwaysRun = true)
  public void deleteCorpus() throws IOException {
    if (workspace != null) {
      workspace.close();
    }
  }

  /** Under {@code nohup} a run outlives its terminal; Ctrl-C it heeds. */
  @Test
  public void theFirstInterruptSaves() throws Exception {
    Path run = workspace.path("run");
    Path log = workspace.path("run.log");
    List<String> nohup = List.of("env", "--default-signal=INT", "--ignore-signal=HUP");
    Process process = Cli.start(nohup, Cli.line(Cli.with(base, "--save", run)), log);
    try {
      await(process, log, () -> steps(run) >= 3);
      Cli.signal("HUP", "" + process.pid());
      int then = steps(run);
      await(process, log, () -> steps(run) >= then + 3);
      Cli.signal("INT", "" + process.pid());
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    String text = Files.readString(log);
    assertEquals(process.exitValue(), 0, text);
    assertEquals(count(log, "moe4j: SIGINT" + NOTED), 1, text);
    assertFalse(text.contains("SIGHUP"), text);
    int stopped = steps(run);
    assertTrue(text.contains("stopping at iteration %d: SIGINT".formatted(stopped)), text);
    assertTrue(Files.exists(run.resolve("iter_%07d/manifest.json".formatted(stopped))), text);
  }

  /** The step takes minutes: nobody has to wait for it. */
  @Test
  public void theSecondInterruptEndsAtOnce() throws Exception {
    Path run = workspace.path("long");
    Path log = workspace.path("long.log");
    List<String> line =
        Cli.with(base, "--train-iters 1 --global-batch-size 1000000", "--save", run);
    Process process = Cli.start(line, log);
    try {
      await(process, log, () -> hasThread(process, "batch-loader"));
      Cli.signal("HUP", "" + process.pid());
      await(process, log, () -> count(log, "moe4j: SIGHUP" + NOTED) == 1);
      Cli.signal("INT", "" + process.pid());
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    assertEquals(process.exitValue(), 130, Files.readString(log));
    assertEquals(steps(run), 0);
  }

  /** Nothing has been learnt yet: it ends at once, and not when everything stands ready. */
  @Test
  public void aRunThatStillStartsEndsAtOnce() throws Exception {
    Path run = workspace.path("starting");
    Path log = workspace.path("starting.log");
    // An index of so many samples takes a second and more.
    Process process = Cli.start(Cli.with(base, "--train-iters 3000000", "--save", run), log);
    try {
      await(process, log, () -> count(log, "> building indices") + count(log, "num_layers") > 0);
      process.destroy();
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    String text = Files.readString(log);
    assertEquals(process.exitValue(), 143, text);
    assertEquals(
        count(log, "moe4j: SIGTERM: no step is under way, and there is nothing to save"), 1);
    assertFalse(text.contains("] iteration "), text);
  }

  /** A terminal sends Ctrl-C to the launcher and to every rank; the launcher passes it on, too. */
  @Test
  public void oneCtrlCUnderLaunchIsOne() throws Exception {
    Path run = workspace.path("ranks");
    Path log = workspace.path("ranks.log");
    List<String> launch = new ArrayList<>(Cli.arguments("launch --nproc-per-node 2 --"));
    launch.addAll(Cli.line(Cli.with(base, "--global-batch-size 4", "--save", run)));
    List<String> before = new ArrayList<>(List.of("setsid"));
    before.addAll(Cli.heeding("INT,HUP"));
    // A session of its own: its first process's number is the group's.
    Process process = Cli.start(before, Cli.line(launch), log);
    try {
      await(process, log, () -> steps(run) >= 3);
      Cli.signal("INT", "-" + process.pid());
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.descendants().forEach(ProcessHandle::destroyForcibly);
      process.destroyForcibly();
    }
    String text = Files.readString(log);
    assertEquals(process.exitValue(), 0, text);
    assertEquals(count(log, "SIGINT" + NOTED), 1, text);
    assertEquals(count(log, "[rank 0] moe4j: SIGINT" + NOTED), 1, text);
    int stopped = steps(run);
    assertTrue(text.contains("stopping at iteration %d: SIGINT".formatted(stopped)), text);
    assertTrue(Files.exists(run.resolve("iter_%07d/manifest.json".formatted(stopped))), text);
  }

  /** Linux has a thread's name for the asking. */
  private static boolean hasThread(Process process, String name) {
    try (Stream<Path> tasks = Files.list(Path.of("/proc/%d/task".formatted(process.pid())))) {
      for (Path task : tasks.toList()) {
        if (Files.readString(task.resolve("comm")).strip().equals(name)) {
          return true;
        }
      }
      return false;
    } catch (IOException e) {
      return false;
    }
  }

  private static long count(Path log, String text) {
    try {
      return Files.readAllLines(log).stream().filter(line -> line.contains(text)).count();
    } catch (IOException e) {
      return 0;
    }
  }

  private static int steps(Path run) {
    try {
      return RunRecord.of(run).steps().size();
    } catch (IOException e) {
      return 0;
    }
  }

  private static void await(Process process, Path log, BooleanSupplier condition)
      throws IOException, InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
    while (!condition.getAsBoolean()) {
      assertTrue(process.isAlive(), "the run ended by itself: " + Files.readString(log));
      assertTrue(System.nanoTime() < end, "nothing came: " + Files.readString(log));
      Thread.sleep(5);
    }
  }
}
