package moe4j.tests;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.fail;

import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/**
 * Small runs of several processes each. All that have the same number of processes are made one
 * after the other by the same ones: starting a process costs more than a small run, and a run whose
 * ranks share their cores with another's waits long for each message.
 */
final class ManyRuns {
  static final Duration TIMEOUT = Duration.ofMinutes(3);

  private static final int LIMIT_S = 600;

  /** A run of so many processes, with the flags of a pretraining. */
  record Run(String name, int processes, List<String> flags) {}

  private final Path directory;
  private final List<Run> runs = new ArrayList<>();

  /**
   * None yet.
   *
   * @param directory a run's record goes below it, under the run's name
   */
  ManyRuns(Path directory) {
    this.directory = directory;
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
    Map<Integer, List<Run>> bySize = new TreeMap<>();
    runs.forEach(run -> bySize.computeIfAbsent(run.processes(), n -> new ArrayList<>()).add(run));
    runs.clear();
    Files.createDirectories(directory);
    for (Map.Entry<Integer, List<Run>> some : bySize.entrySet()) {
      make(some.getKey(), some.getValue());
    }
  }

  private void make(int ranks, List<Run> some) throws IOException, InterruptedException {
    Path file = directory.resolve("runs.txt");
    Files.write(file, some.stream().map(ManyRuns::toLine).toList());
    int port = freePort();
    List<Process> processes = new ArrayList<>();
    for (int r = 0; r < ranks; r++) {
      processes.add(
          start(
              RankProcess.class.getName(),
              List.of(file.toString()),
              environment(r, ranks, port),
              log(r)));
    }
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_S);
    try {
      for (Process process : processes) {
        if (!process.waitFor(end - System.nanoTime(), TimeUnit.NANOSECONDS)) {
          fail("ranks did not end within %d s: %s".formatted(LIMIT_S, logs(ranks)));
        }
      }
    } finally {
      processes.forEach(Process::destroyForcibly);
    }
    for (int r = 0; r < ranks; r++) {
      assertEquals(processes.get(r).exitValue(), 0, "rank %d: %s".formatted(r, logs(ranks)));
    }
  }

  private Path log(int rank) {
    return directory.resolve("rank-" + rank + ".log");
  }

  /** What every rank has said, for a failure's message. */
  private String logs(int ranks) throws IOException {
    StringBuilder text = new StringBuilder();
    for (int r = 0; r < ranks; r++) {
      List<String> lines = Files.readAllLines(log(r));
      List<String> last = lines.subList(Math.max(0, lines.size() - 25), lines.size());
      text.append("\nrank ").append(r).append(":\n").append(String.join("\n", last));
    }
    return text.toString();
  }

  private static String toLine(Run run) {
    return "%s\t%d\t%s".formatted(run.name(), run.processes(), String.join("\t", run.flags()));
  }

  /** The runs of a file. */
  static List<Run> read(Path file) throws IOException {
    List<Run> all = new ArrayList<>();
    for (String line : Files.readAllLines(file)) {
      List<String> words = Arrays.asList(line.split("\t"));
      all.add(
          new Run(words.get(0), Integer.parseInt(words.get(1)), words.subList(2, words.size())));
    }
    return all;
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
