package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import moe4j.model.RunConfig;
import moe4j.model.gpt.GptFamily;
import moe4j.tensor.Scopes;
import moe4j.testing.Seeds;
import moe4j.training.Pretraining;
import moe4j.training.ShutdownSignal;
import org.testng.SkipException;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Native memory does not grow, evaluations and checkpoints included. */
@Test(groups = "slow")
public class MemoryTest {
  private static final String BASE =
      "--num-layers 2 --hidden-size 32 --num-attention-heads 2 --seq-length 32"
          + " --micro-batch-size 2 --global-batch-size 4 --lr 1e-3 --hidden-dropout 0.1"
          + " --attention-dropout 0.1 --eval-iters 2 --eval-interval 50 --save-interval 50"
          + " --most-recent-k 1 --log-interval 10 --num-threads 1";

  private static final String EXPERTS =
      " --num-experts 4 --moe-aux-loss-coeff 0.01 --moe-z-loss-coeff 0.001";

  /** Steps until compiled code, arenas and buffers are what they will be, and steps after them. */
  private static final int WARM = 200;

  private static final int MORE = 200;

  /** What grows at every step does so each time; what Java compiles late takes memory once. */
  private static final int TIMES = 3;

  /** 40 KiB a step: the logits of a micro-batch are 64. */
  private static final long GROWTH_KIB = 8 * 1024;

  @DataProvider
  public Object[][] models() {
    return new Object[][] {
      {"dense", " --log-params-norm --log-num-zeros-in-grad"},
      {"experts", EXPERTS},
      {"dense bf16", " --bf16 --swiglu"},
      {"experts bf16", " --bf16 --reset-attention-mask --reset-position-ids" + EXPERTS},
    };
  }

  /**
   * As many native objects after each log interval of 50 steps as after the first step, and after
   * the run as before it. A shorter one in front makes what the process keeps, operators and
   * constants, whichever tests ran before.
   */
  @Test(dataProvider = "models")
  public void pointersStayFlat(String name, String flags) throws Exception {
    pointers(21, flags);
    collect();
    long before = Scopes.livePointers();
    List<Long> pointers = pointers(50, flags);
    assertEquals(pointers.size(), 6);
    assertEquals(pointers.stream().distinct().toList(), pointers.subList(0, 1));
    collect();
    assertEquals(Scopes.livePointers(), before, "after the run");
  }

  /** How many native objects there are after each log interval of a run. */
  private static List<Long> pointers(int steps, String flags) throws Exception {
    try (Workspace workspace = new Workspace()) {
      List<String> line =
          Cli.arguments(
              BASE
                  + " --eval-interval 20 --save-interval 20 --mock-data"
                  + " --tokenizer-type NullTokenizer --vocab-size 200"
                  + flags,
              "--train-iters",
              steps,
              "--save",
              workspace.path("run"));
      RunConfig config = GptFamily.parse(line.toArray(new String[0]));
      List<Long> pointers = new ArrayList<>();
      Cli.quietly(
          () ->
              Pretraining.run(
                  config,
                  new SmallGpt(config, UnaryOperator.identity()),
                  ShutdownSignal.install(),
                  new Watcher() {
                    @Override
                    public void interval(Interval interval) {
                      if (interval.state().iteration() == 1) {
                        collect();
                      }
                      pointers.add(Scopes.livePointers());
                    }
                  }));
      return pointers;
    }
  }

  /** What the start of a run left to Java's collector, which frees native objects too, is gone. */
  private static void collect() {
    System.gc();
    try {
      Thread.sleep(200);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Each has a thread and a process to itself. */
  @DataProvider(parallel = true)
  public Object[][] processes() {
    return new Object[][] {{"dense", ""}, {"experts bf16", " --bf16" + EXPERTS}};
  }

  /** In a process whose Java heap is of one size, so that the rest is seen. */
  @Test(dataProvider = "processes")
  public void processStaysAsLarge(String name, String flags) throws Exception {
    if (!Files.isDirectory(Path.of("/proc/self"))) {
      throw new SkipException("resident memory is read from /proc");
    }
    try (Workspace workspace = new Workspace()) {
      Path log = workspace.path("log");
      Path corpus = workspace.corpus("corpus", Seeds.random(MemoryTest.class), 300);
      Process process =
          Cli.start(
              Cli.arguments(
                  "pretrain-gpt --tokenizer-type ByteTokenizer --train-iters 100000 "
                      + BASE
                      + flags,
                  "--data-path",
                  corpus,
                  "--save",
                  workspace.path("run")),
              log);
      try {
        int step = awaitStep(process, log, WARM);
        long resident = residentKib(process);
        long grown = Long.MAX_VALUE;
        StringBuilder seen = new StringBuilder("%d KiB after %d steps".formatted(resident, step));
        for (int i = 0; i < TIMES && grown >= GROWTH_KIB; i++) {
          step = awaitStep(process, log, step + MORE);
          grown = residentKib(process) - resident;
          resident += grown;
          seen.append(", %d more after %d".formatted(grown, step));
        }
        assertTrue(grown < GROWTH_KIB, seen.toString());
      } finally {
        process.destroyForcibly().waitFor();
      }
    }
  }

  private static int awaitStep(Process process, Path log, int wanted)
      throws IOException, InterruptedException {
    long end = System.nanoTime() + TimeUnit.MINUTES.toNanos(5);
    while (true) {
      List<String> all = Files.readAllLines(log);
      long lines = all.stream().filter(l -> l.contains("] iteration ")).count();
      int step = (int) lines * 10 - 10;
      if (step >= wanted) {
        return step;
      }
      assertTrue(process.isAlive(), "the run ended by itself: " + Files.readString(log));
      assertTrue(System.nanoTime() < end, "no such step came: " + wanted);
      Thread.sleep(50);
    }
  }

  private static long residentKib(Process process) throws IOException {
    Path status = Path.of("/proc", String.valueOf(process.pid()), "status");
    return Files.readAllLines(status).stream()
        .filter(line -> line.startsWith("VmRSS:"))
        .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")))
        .findFirst()
        .orElseThrow();
  }
}
