package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.fail;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import moe4j.checkpoint.CheckpointStore;
import moe4j.testing.Seeds;
import moe4j.testing.TempDir;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Two processes over Gloo that share the columns have the losses of one that has them all, and go
 * on from each other's checkpoints with each other's memories.
 */
@Test(groups = "slow")
public class SeveralProcessesTest {
  private static final double TOLERANCE = 1e-5;
  private static final int STEPS = 6;
  private static final int ONWARDS = 9;
  private static final int LIMIT_S = 120;
  private static final String PARALLEL = " --expert-model-parallel-size 2";

  /** What is drawn is a function of the column, not of the process that has it. */
  private static final String DROPOUT = " --dropout 0.2 --dropatt 0.2";

  private final Random random = Seeds.random(SeveralProcessesTest.class);
  private final Map<String, String> runs = new LinkedHashMap<>();
  private TempDir folder;
  private Path text;

  @BeforeClass
  public void makeRuns() throws Exception {
    folder = new TempDir();
    text = folder.text("text", random, 900);
    // An epoch has five segments, the last one short: another begins within these steps.
    String flags = "--seed " + random.nextInt(1 << 20) + " --max-step 100 --eval-interval 3 ";
    String first = flags + "--exit-interval " + STEPS;
    String onwards = flags + "--restart --exit-interval " + ONWARDS;
    SmallRun.of(parse("alone", first));
    SmallRun.of(parse("alone-experts", first + SmallRun.EXPERTS));
    runs.put("dense", first);
    runs.put("experts", first + SmallRun.EXPERTS);
    runs.put("parallel", first + SmallRun.EXPERTS + PARALLEL);
    SmallRun.of(parse("alone-dropout", first + DROPOUT));
    runs.put("dropout", first + DROPOUT);
    runs.put("bf16", first + " --bf16");
    // Two go on from one, one goes on from two.
    runs.put("from-alone", onwards + restart("alone"));
    runs.put("from-experts", onwards + SmallRun.EXPERTS + PARALLEL + restart("alone-experts"));
    together();
    SmallRun.of(parse("alone-onwards", onwards + restart("alone")));
    SmallRun.of(parse("alone-from-two", onwards + restart("dense")));
    SmallRun.of(parse("experts-onwards", onwards + SmallRun.EXPERTS + restart("alone-experts")));
    SmallRun.of(parse("experts-from-two", onwards + SmallRun.EXPERTS + restart("parallel")));
  }

  @AfterClass(alwaysRun = true)
  public void delete() throws IOException {
    folder.close();
  }

  private String restart(String name) {
    return " --restart-dir " + folder.path(name);
  }

  private List<String> line(String name, String flags) {
    List<String> line = new ArrayList<>(Arrays.asList(SmallRun.SHAPE.split(" ")));
    line.addAll(List.of("--vocabulary", "bytes", "--split-bytes", "108,120,120"));
    line.addAll(List.of("--data-file", text.toString()));
    line.addAll(List.of("--work-dir", folder.path(name).toString()));
    line.addAll(Arrays.asList(flags.split(" +")));
    return line;
  }

  private TransformerXlRun parse(String name, String flags) {
    return SmallRun.line(1, line(name, flags).toArray(new String[0]));
  }

  /** Makes the runs of two processes, both of which make all of them. */
  private void together() throws IOException, InterruptedException {
    List<String> lines = new ArrayList<>();
    runs.forEach((name, flags) -> lines.add(name + "\t" + String.join("\t", line(name, flags))));
    Path file = Files.write(folder.path("runs.txt"), lines);
    int port;
    try (ServerSocket socket = new ServerSocket(0)) {
      port = socket.getLocalPort();
    }
    List<Process> processes = new ArrayList<>();
    try {
      for (int rank = 0; rank < 2; rank++) {
        processes.add(start(rank, port, file));
      }
      for (int rank = 0; rank < 2; rank++) {
        Process process = processes.get(rank);
        if (!process.waitFor(LIMIT_S, TimeUnit.SECONDS) || process.exitValue() != 0) {
          fail("rank %d failed or hangs: %s".formatted(rank, Files.readString(log(rank))));
        }
      }
    } finally {
      processes.forEach(Process::destroyForcibly);
    }
  }

  private Path log(int rank) {
    return folder.path("rank-" + rank + ".log");
  }

  private Process start(int rank, int port, Path file) throws IOException {
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    List<String> line = new ArrayList<>();
    line.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    line.addAll(List.of("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"));
    line.addAll(List.of("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0"));
    line.addAll(List.of("-Dorg.bytedeco.javacpp.maxBytes=0", "-cp", classPath));
    line.addAll(List.of(TxlRank.class.getName(), file.toString()));
    ProcessBuilder builder =
        new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(log(rank).toFile());
    Map<String, String> environment = builder.environment();
    environment.put("OMP_NUM_THREADS", "1");
    environment.put("OPENBLAS_NUM_THREADS", "1");
    environment.put("TORCH_CPP_LOG_LEVEL", "ERROR");
    environment.put("RANK", String.valueOf(rank));
    environment.put("LOCAL_RANK", String.valueOf(rank));
    environment.put("WORLD_SIZE", "2");
    environment.put("LOCAL_WORLD_SIZE", "2");
    environment.put("MASTER_ADDR", "127.0.0.1");
    environment.put("MASTER_PORT", String.valueOf(port));
    return builder.start();
  }

  /** What a run has measured, by kind and step. */
  private Map<String, Double> measured(String name) throws IOException {
    Map<String, Double> losses = new TreeMap<>();
    for (String text : Files.readAllLines(folder.path(name).resolve("metrics.jsonl"))) {
      JsonNode line = new ObjectMapper().readTree(text);
      String kind = line.get("kind").asText();
      if (kind.equals("train") || kind.equals("validation")) {
        losses.put(kind + " " + line.get("step"), line.get("values").get("lm loss").asDouble());
        if (kind.equals("train")) {
          losses.put("norm " + line.get("step"), line.get("values").get("grad norm").asDouble());
        }
      }
    }
    return losses;
  }

  private void assertClose(String name, String reference, int numbers, double tolerance)
      throws IOException {
    Map<String, Double> expected = measured(reference);
    Map<String, Double> actual = measured(name);
    assertEquals(actual.keySet(), expected.keySet());
    assertEquals(expected.size(), numbers, expected.toString());
    expected.forEach(
        (what, value) ->
            assertTrue(
                Math.abs(actual.get(what) - value)
                    <= (what.startsWith("norm") ? 10 : 1) * tolerance * value,
                "%s of %s: %s, not %s".formatted(what, name, actual.get(what), value)));
  }

  @DataProvider
  Object[][] layouts() {
    return new Object[][] {
      {"dense", "alone", TOLERANCE},
      {"experts", "alone-experts", TOLERANCE},
      {"parallel", "alone-experts", TOLERANCE},
      {"dropout", "alone-dropout", TOLERANCE},
      {"bf16", "alone", 2e-2},
    };
  }

  /** Six steps' losses and gradient norms, and two evaluations. */
  @Test(dataProvider = "layouts")
  public void twoAreAsOne(String name, String alone, double tolerance) throws IOException {
    assertClose(name, alone, 2 * STEPS + 2, tolerance);
  }

  @DataProvider
  Object[][] goneOn() {
    return new Object[][] {
      {"from-alone", "alone-onwards"},
      {"alone-from-two", "alone-onwards"},
      {"from-experts", "experts-onwards"},
      {"experts-from-two", "experts-onwards"},
    };
  }

  /** In the middle of an epoch: each process has to be given its columns' memories. */
  @Test(dataProvider = "goneOn")
  public void eachGoesOnFromTheOther(String name, String alone) throws IOException {
    assertClose(name, alone, 2 * (ONWARDS - STEPS) + 1, TOLERANCE);
  }

  /** The log and the best model are there once. */
  @Test
  public void oneOfThemWritesTheLog() throws IOException {
    List<String> log = Files.readAllLines(folder.path("dense").resolve("log.txt"));
    assertEquals(log.stream().filter(line -> line.startsWith("| epoch")).count(), STEPS);
    assertEquals(log.stream().filter(line -> line.startsWith("| Eval")).count(), 2);
    assertTrue(log.contains("    - world_size : 2"), log.toString());
    assertEquals(
        new CheckpointStore(folder.path("dense").resolve("best"), -1).iterations(),
        new CheckpointStore(folder.path("alone").resolve("best"), -1).iterations());
  }
}
