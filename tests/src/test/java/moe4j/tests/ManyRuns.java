package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.fail;

import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * Small runs of several processes each, made in one world of processes: what can go on side by side
 * does, in the order in which the runs were added.
 */
final class ManyRuns {
  static final Duration TIMEOUT = Duration.ofMinutes(1);
  static final String FILE = "runs.txt";

  private static final int LIMIT_S = 300;

  /** A run of so many processes, with the flags of a pretraining. */
  record Run(String name, int processes, List<String> flags) {}

  /** A run and the rank that is its first. */
  record Placed(int first, Run run) {}

  private final Path directory;
  private final int ranks;
  private final List<Run> runs = new ArrayList<>();

  /**
   * @param directory a run's record goes below it, under the run's name
   * @param ranks processes of the world
   */
  ManyRuns(Path directory, int ranks) {
    this.directory = directory;
    this.ranks = ranks;
  }

  /** Where a run's record is. */
  Path of(String name) {
    return directory.resolve(name);
  }

  /** Adds a run. */
  void add(String name, int processes, List<String> flags) {
    List<String> all = new ArrayList<>(flags);
    all.add("--metrics-dir");
    all.add(of(name).toString());
    runs.add(new Run(name, processes, all));
  }

  /** Makes those that were added, and forgets them; a failure of any fails the test. */
  void make() throws IOException, InterruptedException {
    Files.createDirectories(directory);
    List<String> lines = new ArrayList<>();
    for (Placed placed : place()) {
      List<String> words = new ArrayList<>();
      words.add(String.valueOf(placed.first()));
      words.add(placed.run().name());
      words.add(String.valueOf(placed.run().processes()));
      words.addAll(placed.run().flags());
      lines.add(RankProcess.toLine(words));
    }
    Files.write(directory.resolve(FILE), lines);
    runs.clear();
    int port = freePort();
    List<Process> processes = new ArrayList<>();
    for (int r = 0; r < ranks; r++) {
      processes.add(
          start(
              RankProcess.class.getName(),
              List.of(directory.toString()),
              environment(r, ranks, port),
              directory.resolve("rank-" + r + ".log")));
    }
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_S);
    try {
      for (Process process : processes) {
        if (!process.waitFor(end - System.nanoTime(), TimeUnit.NANOSECONDS)) {
          fail("ranks did not end within %d s: see %s".formatted(LIMIT_S, logs()));
        }
      }
    } finally {
      processes.forEach(Process::destroyForcibly);
    }
    for (int r = 0; r < ranks; r++) {
      assertEquals(processes.get(r).exitValue(), 0, "rank %d: %s".formatted(r, logs()));
    }
  }

  /** What every rank has said, for a failure's message. */
  private String logs() throws IOException {
    StringBuilder text = new StringBuilder();
    try (Stream<Path> files = Files.list(directory)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".log")).sorted().toList()) {
        List<String> lines = Files.readAllLines(file);
        List<String> last = lines.subList(Math.max(0, lines.size() - 25), lines.size());
        text.append('\n').append(file.getFileName()).append(":\n");
        text.append(String.join("\n", last));
      }
    }
    return text.toString();
  }

  /** Each run on neighbouring ranks that have the least to do so far. */
  private List<Placed> place() {
    int[] load = new int[ranks];
    List<Placed> placed = new ArrayList<>();
    for (Run run : runs) {
      int best = 0;
      int least = Integer.MAX_VALUE;
      for (int first = 0; first + run.processes() <= ranks; first += run.processes()) {
        int most = 0;
        for (int r = first; r < first + run.processes(); r++) {
          most = Math.max(most, load[r]);
        }
        if (most < least) {
          least = most;
          best = first;
        }
      }
      for (int r = best; r < best + run.processes(); r++) {
        load[r] = least + 1;
      }
      placed.add(new Placed(best, run));
    }
    return placed;
  }

  static List<Placed> read(Path file) throws IOException {
    List<Placed> placed = new ArrayList<>();
    for (String line : Files.readAllLines(file)) {
      List<String> words = RankProcess.toWords(line);
      placed.add(
          new Placed(
              Integer.parseInt(words.get(0)),
              new Run(
                  words.get(1), Integer.parseInt(words.get(2)), words.subList(3, words.size()))));
    }
    return placed;
  }

  /** A port that nobody listens on at the moment. */
  static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }

  /** What a launcher tells a rank. */
  static Map<String, String> environment(int rank, int size, int port) {
    Map<String, String> environment = new LinkedHashMap<>();
    environment.put("RANK", String.valueOf(rank));
    environment.put("LOCAL_RANK", String.valueOf(rank));
    environment.put("WORLD_SIZE", String.valueOf(size));
    environment.put("LOCAL_WORLD_SIZE", String.valueOf(size));
    environment.put("MASTER_ADDR", "127.0.0.1");
    environment.put("MASTER_PORT", String.valueOf(port));
    return environment;
  }

  /** Starts a class's main as one of several processes that share the cores. */
  static Process start(
      String main, List<String> arguments, Map<String, String> environment, Path log)
      throws IOException {
    List<String> line = new ArrayList<>();
    line.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    line.addAll(List.of("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"));
    line.addAll(List.of("-Xshare:auto", "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0"));
    line.add("-Dorg.bytedeco.javacpp.maxBytes=0");
    line.addAll(
        List.of(
            "-cp",
            System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"))));
    line.add(main);
    line.addAll(arguments);
    ProcessBuilder builder =
        new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(log.toFile());
    builder.environment().put("OMP_NUM_THREADS", "1");
    builder.environment().put("OPENBLAS_NUM_THREADS", "1");
    builder.environment().put("TORCH_CPP_LOG_LEVEL", "ERROR");
    builder.environment().putAll(environment);
    return builder.start();
  }
}
