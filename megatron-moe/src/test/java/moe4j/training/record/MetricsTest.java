package moe4j.training.record;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import moe4j.record.ExpertLoad;
import moe4j.record.IterationRecord;
import moe4j.record.MetricsReader;
import moe4j.record.MetricsWriter;
import moe4j.record.RunDescription;
import moe4j.record.RunHistory;
import moe4j.record.ValidationRecord;
import moe4j.testing.Seeds;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

public class MetricsTest {
  private Path directory;
  private final Random random = Seeds.random(MetricsTest.class);

  @BeforeMethod
  public void make() throws IOException {
    directory = Files.createTempDirectory("metrics");
  }

  @AfterMethod
  public void clean() throws IOException {
    MadeUpRun.delete(directory);
  }

  private static List<Integer> steps(List<RunHistory.Point> points) {
    return points.stream().map(point -> point.at().step()).toList();
  }

  @Test
  public void readsBackWhatWasWritten() throws IOException {
    RunDescription config = MadeUpRun.config("a \"name\"\nin two lines", 8);
    IterationRecord it = MadeUpRun.iteration(10, 100, 8, random);
    ValidationRecord validation = MadeUpRun.validation(10, 8, random);
    ExpertLoad load = MadeUpRun.load(10, 3, 8, random);
    long[] nanos = {5_000_000_000L};
    try (MetricsWriter writer = MetricsWriter.create(directory, config, () -> nanos[0])) {
      nanos[0] += 1_234_000_000L;
      writer.train(it);
      writer.expertLoad(10, 160, load);
      nanos[0] += 1_000_000_000L;
      writer.validation(validation);
      writer.validation(
          new ValidationRecord(10, 160, ValidationRecord.Set.TEST, Map.of("lm loss", 2.5)));
      // Everything is in the file before it is closed.
      RunHistory run = MetricsReader.read(directory);
      assertEquals(run.config(), config);
      assertEquals(run.directory(), directory.toAbsolutePath());
      assertEquals(
          run.train().get(0).at(),
          new RunHistory.Moment(10, 160, 160L * MadeUpRun.SEQ_LENGTH, 1.234));
      it.values()
          .forEach(
              (key, value) -> assertEquals(run.train().get(0).value(key), value.doubleValue()));
      assertEquals(run.train().get(0).values().size(), it.values().size());
      assertEquals(run.expertLoad().get(0).load(), load);
      assertEquals(run.validation().get(0).loss(), validation.losses().get("lm loss"));
      assertEquals(run.validation().size(), 1);
      assertEquals(run.test().get(0).value("lm loss PPL"), Math.exp(2.5));
      assertEquals(run.last().wallSeconds(), 2.234);
      assertEquals(run.end(), Optional.empty());
      writer.end(10, 160, "SIGTERM");
    }
    assertEquals(MetricsReader.read(directory).end(), Optional.of("SIGTERM"));
    assertEquals(MetricsReader.read(directory.resolve("metrics.jsonl")).train().size(), 1);
  }

  @Test
  public void numbersThatJsonLacks() throws IOException {
    Map<String, Double> losses =
        Map.of("lm loss", Double.NaN, "up", Double.POSITIVE_INFINITY, "down", -1.0 / 0);
    try (MetricsWriter writer = MetricsWriter.create(directory, MadeUpRun.config("n", 0))) {
      writer.validation(new ValidationRecord(1, 1, ValidationRecord.Set.TRAINING, losses));
    }
    RunHistory.Point point = MetricsReader.read(directory).validation().get(0);
    losses.forEach((key, loss) -> assertEquals(point.value(key), loss));
    assertTrue(Double.isNaN(point.value("never measured")));
  }

  /** What the experts do, for people with jq. */
  @Test
  public void aLayersLineSaysAll() throws IOException {
    ExpertLoad.Layer layer =
        new ExpertLoad.Layer(
            2,
            List.of(6L, 2L, 0L, 0L),
            2,
            Map.of("z_loss", 0.25),
            Map.of("router entropy", Double.NaN));
    try (MetricsWriter writer = MetricsWriter.create(directory, MadeUpRun.config("n", 4))) {
      writer.expertLoad(10, 160, new ExpertLoad(List.of(layer)));
    }
    String line = Files.readAllLines(directory.resolve("metrics.jsonl")).get(1);
    assertTrue(
        line.endsWith(
            "\"layers\":[{\"layer\":2,\"tokens\":[6,2,0,0],\"dropped\":2,\"cv\":1.2247,"
                + "\"max_over_mean\":3.0,\"losses\":{\"z_loss\":0.25},"
                + "\"figures\":{\"router entropy\":\"NaN\"}}]}"),
        line);
    assertEquals(
        MetricsReader.read(directory).expertLoad().get(0).load(), new ExpertLoad(List.of(layer)));
  }

  @Test
  public void aFileFromBeforeLossesByLayerIsRead() throws IOException {
    MetricsWriter.create(directory, MadeUpRun.config("old", 4)).close();
    Files.writeString(
        directory.resolve("metrics.jsonl"),
        "{\"kind\":\"expert_load\",\"step\":10,\"consumed_samples\":160,\"tokens\":40960,"
            + "\"wall_s\":1.5,\"layers\":[{\"layer\":3,\"tokens\":[5,7],\"dropped\":1}]}\n",
        StandardOpenOption.APPEND);
    assertEquals(
        MetricsReader.read(directory).expertLoad().get(0).load(),
        new ExpertLoad(List.of(new ExpertLoad.Layer(3, List.of(5L, 7L), 1, Map.of(), Map.of()))));
  }

  @Test
  public void tornLastLineIsDropped() throws IOException {
    MadeUpRun.write(directory, "torn", 4, 60, 0.5, random);
    Path file = directory.resolve("metrics.jsonl");
    RunHistory whole = MetricsReader.read(directory);
    byte[] bytes = Files.readAllBytes(file);
    String text = Files.readString(file);
    int lastLine = text.lastIndexOf('\n', text.length() - 2) + 1;
    for (int cut = lastLine; cut < bytes.length; cut += 1 + random.nextInt(9)) {
      Files.write(file, java.util.Arrays.copyOf(bytes, cut));
      RunHistory torn = MetricsReader.read(directory);
      assertEquals(torn.train(), whole.train());
      assertEquals(torn.validation(), whole.validation());
      assertEquals(torn.end(), Optional.empty());
    }
  }

  @Test
  public void aBrokenLineInTheMiddleIsAnErrorWithItsNumber() throws IOException {
    MadeUpRun.write(directory, "broken", 0, 30, 0.5, random);
    Path file = directory.resolve("metrics.jsonl");
    List<String> lines = Files.readAllLines(file);
    lines.set(2, "{\"kind\":\"train\",");
    Files.write(file, lines);
    IOException e = expectThrows(IOException.class, () -> MetricsReader.read(directory));
    assertTrue(e.getMessage().startsWith(file + ", line 3:"), e.getMessage());
  }

  @Test
  public void resumeDropsWhatComesAfterTheCheckpointAndTheClockGoesOn() throws IOException {
    MadeUpRun.write(directory, "resumed", 4, 100, 0.5, random);
    Path file = directory.resolve("metrics.jsonl");
    Files.writeString(file, "{\"kind\":\"tra", StandardOpenOption.APPEND);
    RunHistory before = MetricsReader.read(directory);
    double wallAt50 =
        before.validation().stream()
            .filter(point -> point.at().step() == 50)
            .findFirst()
            .get()
            .at()
            .wallSeconds();
    RunDescription config = MadeUpRun.config("resumed with another name", 4);
    long[] nanos = {77};
    try (MetricsWriter writer = MetricsWriter.resume(directory, config, 50, 800, () -> nanos[0])) {
      assertEquals(writer.wallSeconds(), wallAt50);
      nanos[0] += 3_000_000_000L;
      writer.train(MadeUpRun.iteration(60, 100, 4, random));
    }
    RunHistory after = MetricsReader.read(directory);
    assertEquals(steps(after.train()), List.of(1, 10, 20, 30, 40, 50, 60));
    assertEquals(steps(after.validation()), List.of(50));
    assertEquals(after.train().subList(0, 6), before.train().subList(0, 6));
    assertEquals(after.expertLoad(), before.expertLoad().subList(0, 6));
    assertEquals(after.end(), Optional.empty());
    assertEquals(after.config(), config);
    assertEquals(after.train().get(6).at().wallSeconds(), wallAt50 + 3, 1e-3);
    assertFalse(Files.exists(directory.resolve("metrics.jsonl.tmp")));
  }

  @Test
  public void resumeTwiceFromTheSameStepLeavesOneConfigurationOfIt() throws IOException {
    MadeUpRun.write(directory, "twice", 0, 100, 0.5, random);
    for (int i = 0; i < 2; i++) {
      MetricsWriter.resume(directory, MadeUpRun.config("twice", 0), 50, 800).close();
    }
    long configs =
        Files.readAllLines(directory.resolve("metrics.jsonl")).stream()
            .filter(line -> line.startsWith("{\"kind\":\"config\""))
            .count();
    assertEquals(configs, 2);
  }

  @Test
  public void aNewRunKeepsTheOldRecord() throws IOException {
    for (String name : List.of("first", "second", "third")) {
      MetricsWriter.create(directory, MadeUpRun.config(name, 0)).close();
    }
    assertEquals(MetricsReader.read(directory).config().name(), "third");
    assertEquals(MetricsReader.read(directory.resolve("metrics.1.jsonl")).config().name(), "first");
    assertEquals(
        MetricsReader.read(directory.resolve("metrics.2.jsonl")).config().name(), "second");
  }

  @Test
  public void whatIsNoRunIsNamed() throws IOException {
    Path missing = directory.resolve("missing");
    assertEquals(
        expectThrows(IOException.class, () -> MetricsReader.read(missing)).getMessage(),
        "there is no run at " + missing);
    assertEquals(
        expectThrows(IOException.class, () -> MetricsReader.read(directory)).getMessage(),
        directory + " holds no metrics.jsonl, so it is no run");
    Path file = Files.createFile(directory.resolve("metrics.jsonl"));
    assertEquals(
        expectThrows(IOException.class, () -> MetricsReader.read(directory)).getMessage(),
        file + " is empty: the run recorded nothing");
    Files.writeString(file, "{\"kind\":\"train\",\"step\":1,\"values\":{}}\n");
    assertThrows(IOException.class, () -> MetricsReader.read(directory));
    Files.writeString(file, "{\"kind\":\"config\",\"step\":0,\"format\":99}\n");
    assertEquals(
        expectThrows(IOException.class, () -> MetricsReader.read(directory)).getMessage(),
        file + ", line 1: format 99, this version reads format 1");
  }
}
