package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.fail;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import moe4j.cli.Main;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/**
 * What goes wrong with one of several processes ends all of them soon, each with a sentence that
 * names the rank and the cause, and the run goes on from its last checkpoint as if nothing had
 * been.
 */
@Test(groups = "slow")
public class RankFaultTest {
  private static final int LIMIT_S = 60;
  private static final int STEPS = 20;

  private final Random random = Seeds.random(RankFaultTest.class);
  private Workspace workspace;
  private List<String> base;
  private double[] undisturbed;

  @BeforeClass
  public void runUndisturbed() throws IOException, InterruptedException {
    workspace = new Workspace();
    base =
        Cli.arguments(
            "pretrain-gpt --num-layers 2 --hidden-size 16 --num-attention-heads 2 --seq-length 16"
                + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-2 --mock-data"
                + " --tokenizer-type NullTokenizer --vocab-size 60 --eval-iters 0 --log-interval 1"
                + " --make-vocab-size-divisible-by 4 --num-experts 4 --moe-ffn-hidden-size 16"
                + " --expert-model-parallel-size 2 --moe-aux-loss-coeff 0.01"
                + " --distributed-timeout-minutes 0.5 --num-threads 1 --seed",
            random.nextInt(1 << 20));
    try (Started started = start("undisturbed", saving("undisturbed", STEPS))) {
      assertEquals(started.status(0), 0, started.said(0));
      assertEquals(started.status(1), 0, started.said(1));
    }
    undisturbed = losses("undisturbed");
    assertEquals(undisturbed.length, STEPS);
  }

  @AfterClass
  public void delete() throws IOException {
    workspace.close();
  }

  /** Several processes of a run. */
  private final class Started implements AutoCloseable {
    final String name;
    final List<Process> processes = new ArrayList<>();

    /** Starts the first ranks of a world. */
    Started(String name, int world, int port, List<List<String>> lines) throws IOException {
      this(name, world, port, lines, Main.class.getName(), Map.of());
    }

    Started(
        String name,
        int world,
        int port,
        List<List<String>> lines,
        String main,
        Map<String, String> more)
        throws IOException {
      this.name = name;
      for (int r = 0; r < lines.size(); r++) {
        Map<String, String> environment = ManyRuns.environment(r, world, port);
        environment.putAll(more);
        processes.add(ManyRuns.start(main, lines.get(r), environment, log(r)));
      }
    }

    Path log(int rank) {
      return workspace.path(name + "-" + rank + ".log");
    }

    String said(int rank) throws IOException {
      return Files.readString(log(rank));
    }

    /** The status of a rank, which ends by itself. */
    int status(int rank) throws IOException, InterruptedException {
      if (!processes.get(rank).waitFor(LIMIT_S, TimeUnit.SECONDS)) {
        fail("rank %d of %s goes on after %d s: %s".formatted(rank, name, LIMIT_S, said(rank)));
      }
      return processes.get(rank).exitValue();
    }

    /** Waits until a rank's log has a pattern. */
    void await(int rank, String pattern) throws IOException, InterruptedException {
      Pattern wanted = Pattern.compile(pattern);
      for (int i = 0; i < LIMIT_S * 20; i++) {
        if (wanted.matcher(said(rank)).find()) {
          return;
        }
        Thread.sleep(50);
      }
      fail("no '%s' from rank %d of %s: %s".formatted(pattern, rank, name, said(rank)));
    }

    /**
     * That a rank ended badly with a sentence, perhaps among others, and without frames of C++'s or
     * Java's.
     */
    void failed(int rank, String sentence) throws IOException, InterruptedException {
      assertNotEquals(status(rank), 0, said(rank));
      String text = said(rank);
      assertTrue(
          Pattern.compile("moe4j pretrain-gpt: (?s:.*)" + sentence).matcher(text).find(), text);
      assertFalse(text.contains("frame #"), text);
      assertFalse(text.contains("\tat "), text);
    }

    @Override
    public void close() {
      processes.forEach(Process::destroyForcibly);
    }
  }

  private Started start(String name, List<String> line) throws IOException {
    return new Started(name, 2, ManyRuns.freePort(), List.of(line, line));
  }

  /** A run of so many steps; the data's order and the rates are the same for any number. */
  private List<String> saving(String directory, int steps) {
    String save = workspace.path(directory).toString();
    return Cli.with(
        base,
        "--train-iters 100000 --save-interval 5 --exit-interval " + steps + " --save",
        save,
        "--load",
        save);
  }

  private double[] losses(String directory) throws IOException {
    return RunRecord.of(workspace.path(directory)).numbers("lm loss");
  }

  private static void assertWhole(Path directory) throws IOException {
    try (var files = Files.list(directory)) {
      assertEquals(files.filter(f -> f.toString().endsWith(".part")).count(), 0);
    }
  }

  /** That steps were those of a run to which nothing happened. */
  private void assertUndisturbed(double[] losses, int steps) {
    assertEquals(losses.length, steps);
    for (int i = 0; i < Math.min(steps, undisturbed.length); i++) {
      assertEquals(losses[i], undisturbed[i], 1e-5 * undisturbed[i], "step " + i);
    }
  }

  /** Killed while the others wait for it; what was saved before is whole, and goes on. */
  public void aRankIsKilled() throws IOException, InterruptedException {
    try (Started started = start("killed", saving("killed", 100_000))) {
      started.await(0, "saved checkpoint from iteration +10 ");
      started.processes.get(1).destroyForcibly();
      started.failed(0, "rank 0: rank 1 is gone");
    }
    assertWhole(workspace.path("killed"));
    int iteration = latest("killed");
    // It goes on for as many steps as the undisturbed one has, or as few more.
    int steps = iteration < STEPS ? STEPS : iteration + 5;
    try (Started started = start("goes-on", saving("killed", steps))) {
      assertEquals(started.status(0), 0, started.said(0));
      assertEquals(started.status(1), 0, started.said(1));
    }
    assertUndisturbed(losses("killed"), steps);
  }

  private int latest(String directory) throws IOException {
    Path tracker = workspace.path(directory).resolve("latest_checkpointed_iteration.txt");
    return Integer.parseInt(Files.readString(tracker).strip());
  }

  /** All save where they stand, end well, and go on as if they had not stopped. */
  public void oneRankIsTerminated() throws IOException, InterruptedException {
    try (Started started = start("terminated", saving("terminated", 100_000))) {
      started.await(0, "iteration +7/");
      started.processes.get(1).destroy();
      assertEquals(started.status(0), 0, started.said(0));
      assertEquals(started.status(1), 0, started.said(1));
      assertTrue(started.said(0).contains("SIGTERM to rank 1"), started.said(0));
    }
    int stopped = latest("terminated");
    try (Started started = start("resumed", saving("terminated", stopped + 3))) {
      assertEquals(started.status(0), 0, started.said(0));
    }
    assertUndisturbed(losses("terminated"), stopped + 3);
  }

  /** A loss that is not finite on one rank stops all, and all say where it was. */
  public void aNanOnOneRank() throws IOException, InterruptedException {
    // The null tokenizer's vocabulary has one more: the end of document.
    List<String> line = Cli.with(saving("nan", 20), "--vocab-size 61");
    line.remove(0);
    try (Started started =
        new Started(
            "nan",
            2,
            ManyRuns.freePort(),
            List.of(line, line),
            FaultyRank.class.getName(),
            Map.of(FaultyRank.NAN_STEP, "7"))) {
      for (int r = 0; r < 2; r++) {
        assertNotEquals(started.status(r), 0, started.said(r));
        assertTrue(
            started.said(r).contains("iteration 8: the loss is not finite on rank 1;"),
            started.said(r));
      }
    }
    assertEquals(latest("nan"), 5);
    try (Started started = start("nan-goes-on", saving("nan", 10))) {
      assertEquals(started.status(0), 0, started.said(0));
    }
    assertEquals(latest("nan"), 10);
    assertUndisturbed(losses("nan"), 10);
  }

  public void aRankNeverStarts() throws IOException, InterruptedException {
    List<String> line =
        Cli.with(base, "--train-iters 3 --global-batch-size 8 --distributed-timeout-minutes 0.1");
    try (Started started = new Started("missing", 4, ManyRuns.freePort(), List.of(line, line))) {
      started.failed(0, "rank 0: ranks 2, 3 of 4 have not joined within 6 s");
      started.failed(1, "rank 1: (ranks 2, 3 of 4 have not joined|rank 0 is gone)");
    }
  }

  public void thePortIsInUse() throws IOException, InterruptedException {
    List<String> line = Cli.with(base, "--train-iters 3 --distributed-timeout-minutes 0.1");
    try (ServerSocket taken = new ServerSocket(0, 50, InetAddress.getByName("0.0.0.0"));
        Started started = new Started("port", 2, taken.getLocalPort(), List.of(line, line))) {
      String port = String.valueOf(taken.getLocalPort());
      started.failed(
          0, "rank 0 cannot listen on port " + port + " \\(MASTER_PORT\\): it is in use");
      started.failed(1, "rank 1 .*" + port);
    }
  }

  public void flagsDiffer() throws IOException, InterruptedException {
    List<String> line = Cli.with(base, "--train-iters 3");
    List<String> other = Cli.with(line, "--lr 2e-2 --bf16");
    try (Started started = new Started("flags", 2, ManyRuns.freePort(), List.of(line, other))) {
      for (int r = 0; r < 2; r++) {
        started.failed(
            r,
            "rank 1 was started with other flags than rank 0: --bf16 true and not false, --lr"
                + " 0.02 and not 0.01");
      }
    }
  }

  /** A layout that cannot be is refused by every rank before any talks to another. */
  public void theLayoutDoesNotFit() throws IOException, InterruptedException {
    List<String> line = Cli.with(base, "--train-iters 3 --tensor-model-parallel-size 3");
    try (Started started = start("layout", line)) {
      for (int r = 0; r < 2; r++) {
        started.failed(r, "--tensor-model-parallel-size 3 does not divide the 2 processes");
      }
    }
  }
}
