package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import moe4j.parallel.WorldEnvironment;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** Several processes of one command: what they are told, what is heard of them, how they end. */
public class LaunchTest {
  /** Long enough for any machine; a test that waits so long fails. */
  private static final long PATIENCE_SECONDS = 60;

  private Workspace workspace;

  @BeforeMethod
  public void open() {
    workspace = new Workspace();
  }

  /** Whatever happened, no process is left: each notes its number before it does anything else. */
  @AfterMethod(alwaysRun = true)
  public void nothingIsLeft() throws IOException {
    List<Long> left = pids().stream().filter(LaunchTest::isAlive).toList();
    left.forEach(pid -> ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly));
    workspace.close();
    assertEquals(left, List.of());
  }

  /** The arguments that launch a script in {@code flags}' processes. */
  private List<String> line(String flags, String script) {
    String note = "echo $$ >> '%s'; ".formatted(workspace.path("pids"));
    return Cli.arguments("launch " + flags, "--", "sh", "-c", note + script);
  }

  private Cli.Result launch(String flags, String script) {
    return Cli.run(line(flags, script));
  }

  private List<Long> pids() throws IOException {
    Path file = workspace.path("pids");
    return Files.exists(file)
        ? Files.readAllLines(file).stream().map(Long::valueOf).toList()
        : List.of();
  }

  /** One that has ended may wait for the system's first process to take note of it. */
  private static boolean isAlive(long pid) {
    try {
      return !Files.readString(Path.of("/proc/" + pid + "/stat")).matches("(?s).*\\) Z .*");
    } catch (IOException e) {
      return false;
    }
  }

  private static List<String> sorted(String text) {
    return text.lines().sorted().toList();
  }

  @Test
  public void everyRankHasItsEnvironment() {
    Cli.Result result = launch("--nproc-per-node 3 --max-restarts 2", "exec env").ok();
    List<WorldEnvironment> worlds = new ArrayList<>();
    for (int rank = 0; rank < 3; rank++) {
      String prefix = "[rank %d] ".formatted(rank);
      Map<String, String> environment = new TreeMap<>();
      result
          .out()
          .lines()
          .filter(line -> line.startsWith(prefix) && line.contains("="))
          .map(line -> line.substring(prefix.length()).split("=", 2))
          .forEach(variable -> environment.put(variable[0], variable[1]));
      assertEquals(environment.get("GROUP_RANK"), "0");
      assertEquals(environment.get("TORCHELASTIC_MAX_RESTARTS"), "2");
      int threads = Math.max(1, Runtime.getRuntime().availableProcessors() / 3);
      String given = System.getenv("OMP_NUM_THREADS");
      assertEquals(
          environment.get("OMP_NUM_THREADS"), given == null ? Integer.toString(threads) : given);
      worlds.add(WorldEnvironment.of(environment));
    }
    WorldEnvironment first = worlds.get(0);
    assertFalse(first.runId().isEmpty());
    assertTrue(first.masterPort() > 0);
    assertEquals(
        worlds,
        IntStream.range(0, 3)
            .mapToObj(
                rank ->
                    new WorldEnvironment(
                        rank, 3, rank, 3, "127.0.0.1", first.masterPort(), false, 0, first.runId()))
            .toList());
  }

  @Test
  public void linesKeepTheirStreamAndGetTheirRank() {
    Cli.Result result =
        launch(
            "--nproc-per-node 2",
            "cat; printf 'naïve %s\\n\\n' $RANK; echo \"to err\" >&2; printf 'no end'");
    assertEquals(
        sorted(result.ok().out()),
        List.of(
            "[rank 0] ",
            "[rank 0] naïve 0",
            "[rank 0] no end",
            "[rank 1] ",
            "[rank 1] naïve 1",
            "[rank 1] no end"));
    assertEquals(sorted(result.err()), List.of("[rank 0] to err", "[rank 1] to err"));
  }

  /** Many long lines of several ranks at once stay whole, to the last. */
  @Test
  public void linesDoNotMix() {
    String words = "0123456789".repeat(30);
    Cli.Result result =
        launch(
            "--nproc-per-node 3",
            "i=0; while [ $i -lt 300 ]; do echo \"$RANK %s $i\"; i=$((i+1)); done"
                .formatted(words));
    List<String> wanted = new ArrayList<>();
    for (int rank = 0; rank < 3; rank++) {
      for (int i = 0; i < 300; i++) {
        wanted.add("[rank %d] %d %s %d".formatted(rank, rank, words, i));
      }
    }
    assertEquals(sorted(result.ok().out()), wanted.stream().sorted().toList());
  }

  @Test
  public void theFirstFailureEndsAllAndIsNamed() throws IOException {
    long begin = System.nanoTime();
    // Rank 0 waits for a process of its own, and fails in its turn once its peer is gone.
    Cli.Result result =
        launch(
            "--nproc-per-node 3",
            "case $RANK in"
                + " 0) trap 'echo lost a peer >&2; exit 9' TERM; sleep 100 & echo $! >> '%s'; wait;;"
                    .formatted(workspace.path("pids"))
                + " 1) while [ $(wc -l < '%s') -lt 4 ]; do sleep 0.05; done;"
                    .formatted(workspace.path("pids"))
                + " echo 'moe4j pretrain-gpt: no such thing' >&2; echo noise >&2; exit 3;;"
                + " *) exec sleep 100;; esac");
    assertTrue(System.nanoTime() - begin < TimeUnit.SECONDS.toNanos(10));
    assertEquals(result.status(), 3, result.err());
    assertEquals(
        last(result.err()),
        "moe4j launch: rank 1 ended with exit code 3: moe4j pretrain-gpt: no such thing");
    assertEquals(pids().size(), 4);
  }

  /** A rank that does not heed SIGTERM is killed; so is what it started. */
  @Test
  public void whoDoesNotEndIsKilled() throws IOException {
    long begin = System.nanoTime();
    Cli.Result result =
        launch(
            "--nproc-per-node 2",
            "if [ $RANK = 0 ]; then trap '' TERM; sleep 100 & echo $! >> '%1$s'; wait; wait;"
                    .formatted(workspace.path("pids"))
                + " else while [ $(wc -l < '%s') -lt 3 ]; do sleep 0.05; done;"
                    .formatted(workspace.path("pids"))
                + " echo last words >&2; kill -KILL $$; fi");
    assertTrue(System.nanoTime() - begin < TimeUnit.SECONDS.toNanos(10));
    assertEquals(result.status(), 137, result.err());
    assertEquals(
        last(result.err()), "moe4j launch: rank 1 ended with exit code 137 (SIGKILL): last words");
    assertEquals(pids().size(), 3);
  }

  /** A rank may end before the others; what it leaves behind does not outlive them. */
  @Test
  public void whatRanksLeaveBehindIsEnded() throws IOException {
    launch(
            "--nproc-per-node 2",
            "if [ $RANK = 0 ]; then (sleep 100 & echo $! >> '%s'); else sleep 0.3; echo done; fi"
                .formatted(workspace.path("pids")))
        .ok();
    assertEquals(pids().size(), 3);
  }

  @Test
  public void restartsCountUp() {
    Cli.Result twice =
        launch(
            "--nproc-per-node 2 --max-restarts 3",
            "echo $TORCHELASTIC_RESTART_COUNT; [ $RANK = 0 ] || [ $TORCHELASTIC_RESTART_COUNT = 2 ]"
                + " || { echo broken >&2; exit 4; }");
    assertEquals(twice.status(), 0, twice.err());
    assertTrue(
        sorted(twice.out())
            .containsAll(List.of("[rank 1] 0", "[rank 1] 1", "[rank 0] 2", "[rank 1] 2")),
        twice.out());
    assertEquals(
        twice.err().lines().filter(line -> line.startsWith("moe4j")).toList(),
        List.of(
            "moe4j launch: rank 1 ended with exit code 4: broken; restart 1 of 3",
            "moe4j launch: rank 1 ended with exit code 4: broken; restart 2 of 3"));

    Cli.Result never = launch("--nproc-per-node 1 --max-restarts 1", "exit 5");
    assertEquals(never.status(), 5);
    assertEquals(
        never.err().lines().toList(),
        List.of(
            "moe4j launch: rank 0 ended with exit code 5; restart 1 of 1",
            "moe4j launch: rank 0 ended with exit code 5"));
  }

  @Test
  public void termIsPassedOn() throws Exception {
    Path log = workspace.path("log");
    Process process =
        Cli.start(
            line(
                "--nproc-per-node 2 --max-restarts 1",
                "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done"),
            log);
    try {
      await(process, log, "[rank 0] ready", "[rank 1] ready");
      process.toHandle().destroy();
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    List<String> text = Files.readAllLines(log);
    assertEquals(process.exitValue(), 0, text.toString());
    assertTrue(text.containsAll(List.of("[rank 0] saved", "[rank 1] saved")), text.toString());
  }

  @Test
  public void interruptIsPassedOn() throws Exception {
    Path log = workspace.path("log");
    // Not one of them heeds it but rank 1; the second interrupt ends them for good.
    Process process =
        Cli.start(
            line(
                "--nproc-per-node 2 --max-restarts 1",
                "if [ $RANK = 1 ]; then trap 'echo interrupted' INT; else trap '' INT TERM; fi;"
                    + " echo ready; while :; do sleep 0.05; done"),
            log);
    try {
      await(process, log, "[rank 0] ready", "[rank 1] ready");
      interrupt(process);
      await(process, log, "[rank 1] interrupted");
      interrupt(process);
      assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it did not end");
    } finally {
      process.destroyForcibly();
    }
    String text = Files.readString(log);
    assertEquals(process.exitValue(), 130, text);
    assertEquals(last(text), "moe4j launch: SIGINT once more: what still ran was killed", text);
  }

  @Test
  public void aCommandThatDoesNotExist() {
    Cli.Result result = Cli.run("launch --nproc-per-node 2 -- /no/such/program --flag");
    assertEquals(result.status(), 1);
    assertEquals(
        result.err(),
        "moe4j launch: '/no/such/program' cannot be started: No such file or directory\n");
  }

  @Test
  public void aPortInUse() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      int port = socket.getLocalPort();
      Cli.Result result = launch("--nproc-per-node 1 --master-port " + port, "true");
      assertEquals(result.status(), 2);
      assertTrue(
          result
              .err()
              .matches(
                  "moe4j launch: --master-port %d cannot be had: Address already in use.*; .*\n"
                      .formatted(port)),
          result.err());
      assertFalse(Files.exists(workspace.path("pids")));
    }
  }

  @Test
  public void badInputIsRefused() {
    for (String[] pair :
        new String[][] {
          {"launch -- true", "--nproc-per-node is required"},
          {"launch --nproc-per-node 0 -- true", "--nproc-per-node 0 is not positive"},
          {"launch --nproc-per-node 1 --max-restarts -1 -- true", "--max-restarts -1 is negative"},
          {
            "launch --nproc-per-node 1 --master-port 65536 -- true",
            "--master-port 65536 is not a port: ports are 1 to 65535"
          },
          {
            "launch --nproc-per-node 2",
            "a COMMAND is asked for: moe4j launch --nproc-per-node 2 -- COMMAND [ARGUMENT ...]"
          },
        }) {
      Cli.Result result = Cli.run(Arrays.asList(pair[0].split(" ")));
      assertEquals(result.status(), 2);
      assertEquals(result.err(), "moe4j launch: %s\n".formatted(pair[1]));
    }
  }

  /** The command's own flags are not ours, {@code --help} neither. */
  @Test
  public void theCommandsFlagsAreItsOwn() {
    Cli.Result result =
        Cli.run(
            List.of("launch", "--nproc-per-node", "1", "--", "echo", "--help", "--", "-n", "a b"));
    assertEquals(result.ok().out(), "[rank 0] --help -- -n a b\n");
    Cli.Result undashed = Cli.run("launch --nproc-per-node 1 echo --max-restarts");
    assertEquals(undashed.ok().out(), "[rank 0] --max-restarts\n");
    assertTrue(Cli.run("launch --nproc-per-node 1 --help").ok().out().contains("--max-restarts N"));
  }

  private static String last(String text) {
    return text.lines().reduce((a, b) -> b).orElse("");
  }

  /** Java sends SIGTERM alone. */
  private static void interrupt(Process process) throws IOException, InterruptedException {
    new ProcessBuilder("sh", "-c", "kill -s INT " + process.pid()).start().waitFor();
  }

  private static void await(Process process, Path log, String... lines) throws Exception {
    BooleanSupplier there =
        () -> {
          try {
            return Files.readAllLines(log).containsAll(Arrays.asList(lines));
          } catch (IOException e) {
            return false;
          }
        };
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
    while (!there.getAsBoolean()) {
      assertTrue(process.isAlive(), "it ended by itself: " + Files.readString(log));
      assertTrue(System.nanoTime() < end, "nothing came: " + Files.readString(log));
      Thread.sleep(5);
    }
  }
}
