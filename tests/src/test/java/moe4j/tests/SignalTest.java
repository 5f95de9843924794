package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** A run in a process of its own that is told to stop, or is killed, goes on where it stood. */
public class SignalTest {
  /** Long enough for any machine; a test that waits so long fails. */
  private static final long PATIENCE_SECONDS = 120;

  private final Random random = Seeds.random(SignalTest.class);
  private Workspace workspace;
  private List<String> base;

  @BeforeMethod
  public void makeCorpus() throws IOException {
    workspace = new Workspace();
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 1 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --lr 1e-2 --tokenizer-type ByteTokenizer"
                + " --hidden-dropout 0.1 --eval-iters 0 --log-interval 1 --num-threads 1"
                + " --data-path",
            workspace.corpus("corpus", random, 100));
  }

  @AfterMethod(alwaysRun = true)
  public void deleteCorpus() throws IOException {
    workspace.close();
  }

  @Test
  public void termSavesAndTheRunGoesOn() throws Exception {
    Path run = workspace.path("run");
    Path log = workspace.path("log");
    // Too many steps to end before the signal comes.
    List<String> line =
        Cli.with(base, "--train-iters 1000000 --lr-decay-iters 1000", "--save", run);
    Process process = Cli.start(line, log);
    try {
      await(process, log, () -> steps(run) >= 3);
      process.destroy();
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    String text = Files.readString(log);
    assertEquals(process.exitValue(), 0, text);
    int stopped = RunRecord.of(run).steps().size();
    assertTrue(text.contains("stopping at iteration %d: SIGTERM".formatted(stopped)), text);
    assertEquals(checkpoints(run), List.of("iter_%07d".formatted(stopped)));

    int steps = stopped + 5;
    String rest = "--lr-decay-iters 1000 --exit-interval " + steps + " --train-iters 1000000";
    Cli.run(Cli.with(base, rest, "--save", run, "--load", run)).ok();
    Path undisturbed = workspace.path("undisturbed");
    Cli.run(Cli.with(base, rest, "--save", undisturbed)).ok();
    assertSameLosses(run, undisturbed, steps);
  }

  @Test
  public void stoppedWithoutSaveWarns() throws Exception {
    Path log = workspace.path("log");
    Process process = Cli.start(Cli.with(base, "--train-iters 1000000 --lr-decay-iters 1000"), log);
    try {
      await(process, log, () -> contains(log, "] iteration "));
      process.destroy();
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    String last = Files.readAllLines(log).stream().reduce((a, b) -> b).orElseThrow();
    assertTrue(
        last.matches("WARNING: stopped at iteration \\d+ without --save: .*"),
        Files.readString(log));
    assertEquals(process.exitValue(), 143);
  }

  /** The same text again and again, for longer than it takes to send the signal. */
  @Test
  public void interruptedPreprocessingLeavesNothing() throws Exception {
    Path text = workspace.path("text.txt");
    Files.writeString(text, "public static void main(String[] arguments) {}\n".repeat(20_000));
    List<String> line =
        Cli.arguments(
            "preprocess --tokenizer-type GPT2BPETokenizer --output-prefix",
            workspace.path("out"),
            "--input");
    line.addAll(Collections.nCopies(400, text.toString()));
    Path log = workspace.path("log");
    Process process = Cli.start(line, log);
    try {
      await(process, log, () -> Files.exists(workspace.path("out_text_document.bin.part")));
      process.destroy();
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    assertEquals(process.exitValue(), 143, Files.readString(log));
    assertEquals(
        list(workspace.path("")).filter(name -> name.startsWith("out")).toList(), List.of());
  }

  /** Zeros, of which a gz holds many: unpacking them takes longer than sending the signal. */
  @Test
  public void interruptedEnwik8LeavesNothing() throws Exception {
    ByteArrayOutputStream member = new ByteArrayOutputStream();
    try (OutputStream gz = new GZIPOutputStream(member)) {
      gz.write(new byte[10_000_000]);
    }
    Path copy = workspace.path("copy");
    try (OutputStream file = Files.newOutputStream(copy)) {
      for (int i = 0; i < 2000; i++) {
        member.writeTo(file);
      }
    }
    Path out = workspace.path("out");
    Path log = workspace.path("log");
    Process process = Cli.start(Cli.arguments("data enwik8 --out", out, "--file", copy), log);
    try {
      await(process, log, () -> list(out).filter(name -> name.endsWith(".part")).count() == 3);
      process.destroy();
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    assertEquals(process.exitValue(), 143, Files.readString(log));
    assertEquals(list(out).toList(), List.of());
  }

  private static boolean contains(Path log, String text) {
    try {
      return Files.readString(log).contains(text);
    } catch (IOException e) {
      return false;
    }
  }

  @Test(groups = "slow")
  public void killedRunGoesOnFromItsLastCheckpoint() throws Exception {
    Path run = workspace.path("run");
    Path log = workspace.path("log");
    String flags = "--train-iters 1000000 --lr-decay-iters 1000 --save-interval 4";
    Process process = Cli.start(Cli.with(base, flags, "--save", run), log);
    try {
      await(process, log, () -> steps(run) >= 10);
    } finally {
      process.destroyForcibly().waitFor();
    }
    int steps = steps(run) / 4 * 4 + 12;
    String rest = flags + " --exit-interval " + steps;
    Cli.run(Cli.with(base, rest, "--save", run, "--load", run)).ok();
    Path undisturbed = workspace.path("undisturbed");
    Cli.run(Cli.with(base, rest, "--save", undisturbed)).ok();
    assertSameLosses(run, undisturbed, steps);
  }

  /**
   * Killed again and again at random moments of saving, with old checkpoints being removed: the
   * newest whole checkpoint is never lost, and what comes of it all is what an undisturbed run
   * makes.
   */
  @Test(groups = "slow")
  public void killDuringSaveLeavesWhatCanBeResumed() throws Exception {
    Path run = workspace.path("run");
    // Large embeddings: saving takes much of the time.
    String flags =
        "--train-iters 1000000 --lr-decay-iters 1000 --save-interval 1 --most-recent-k 2"
            + " --make-vocab-size-divisible-by 40000";
    int newest = 0;
    for (int kill = 0; kill < 6; kill++) {
      Path log = workspace.path("log" + kill);
      Process process = Cli.start(Cli.with(base, flags, "--save", run, "--load", run), log);
      try {
        int begun = newest;
        int saves = begun + 1 + random.nextInt(3);
        await(
            process,
            log,
            () -> list(run).anyMatch(name -> name.equals("iter_%07d.tmp".formatted(saves + 1))));
        Thread.sleep(random.nextInt(30));
      } finally {
        process.destroyForcibly().waitFor();
      }
      String text = Files.readString(log);
      assertTrue(newest == 0 || text.contains("loaded checkpoint"), text);
      // Not the tracker's: the kill may have come between the checkpoint and the note of it.
      int now =
          checkpoints(run).stream()
              .filter(name -> name.matches("iter_\\d+"))
              .mapToInt(name -> Integer.parseInt(name.substring("iter_".length())))
              .max()
              .orElseThrow();
      assertTrue(now > newest, "kill %d: from %d to %d".formatted(kill, newest, now));
      newest = now;
    }
    int steps = newest + 3;
    String rest = flags + " --exit-interval " + steps;
    Cli.Result last = Cli.run(Cli.with(base, rest, "--save", run, "--load", run)).ok();
    assertTrue(last.out().contains("loaded checkpoint"), last.out());
    assertFalse(list(run).anyMatch(name -> name.endsWith(".tmp") || name.endsWith(".replaced")));
    Path undisturbed = workspace.path("undisturbed");
    Cli.run(Cli.with(base, rest, "--save", undisturbed, "--save-interval", steps)).ok();
    assertSameLosses(run, undisturbed, steps);
    String checkpoint = "iter_%07d".formatted(steps);
    Map<String, byte[]> wanted = Workspace.contents(undisturbed.resolve(checkpoint));
    Map<String, byte[]> found = Workspace.contents(run.resolve(checkpoint));
    wanted.forEach(
        (file, bytes) -> {
          if (file.endsWith(".safetensors")) {
            assertEquals(found.get(file), bytes, file);
          }
        });
  }

  private static void assertSameLosses(Path run, Path undisturbed, int steps) throws IOException {
    assertEquals(RunRecord.of(run).steps(), IntStream.rangeClosed(1, steps).boxed().toList());
    assertEquals(RunRecord.of(run).texts("lm loss"), RunRecord.of(undisturbed).texts("lm loss"));
  }

  /** Steps recorded so far; a line may be in the making. */
  private static int steps(Path run) {
    try {
      return RunRecord.of(run).steps().size();
    } catch (IOException e) {
      return 0;
    }
  }

  private static Stream<String> list(Path directory) {
    String[] names = directory.toFile().list();
    return names == null ? Stream.empty() : Stream.of(names);
  }

  private static List<String> checkpoints(Path run) {
    return list(run).filter(name -> name.startsWith("iter_")).sorted().toList();
  }

  private static void await(Process process, Path log, BooleanSupplier condition)
      throws IOException, InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
    while (!condition.getAsBoolean()) {
      assertTrue(process.isAlive(), "the run ended by itself: " + Files.readString(log));
      assertTrue(System.nanoTime() < end, "nothing came: " + Files.readString(log));
      Thread.sleep(2);
    }
  }
}
