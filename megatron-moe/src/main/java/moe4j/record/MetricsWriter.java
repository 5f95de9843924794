package moe4j.record;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/**
 * Writes a run's {@code metrics.jsonl}: one JSON object a line, each handed to the operating system
 * as soon as it is made, so that a killed run leaves all it measured. Every line has {@code kind},
 * {@code step}, {@code consumed_samples}, {@code tokens} and {@code wall_s}, seconds since the run
 * began, which go on where a resumed run left off.
 *
 * <p>Kinds: {@code config}, {@code train} and {@code validation} (with {@code values} by the keys
 * of the log line), {@code expert_load}, {@code end}.
 */
public final class MetricsWriter implements RunRecord {
  private static final Logger LOG = LogManager.getLogger(MetricsWriter.class);

  private final WholeRecords records;
  private final RunDescription config;
  private final LongSupplier nanoTime;
  private final double wallBefore;
  private final long opened;

  private MetricsWriter(Path file, RunDescription config, double wallBefore, LongSupplier nanoTime)
      throws IOException {
    this.config = config;
    this.wallBefore = wallBefore;
    this.nanoTime = nanoTime;
    this.opened = nanoTime.getAsLong();
    this.records =
        new WholeRecords(
            file, FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.APPEND));
  }

  /**
   * Begins a run's record. The record of another run in the same directory is kept, as {@code
   * metrics.1.jsonl} and so on.
   *
   * @throws IOException if the directory cannot be written to
   */
  public static MetricsWriter create(Path directory, RunDescription config) throws IOException {
    return create(directory, config, System::nanoTime);
  }

  /**
   * The same with a clock of the caller's.
   *
   * @param nanoTime as {@link System#nanoTime}
   */
  public static MetricsWriter create(Path directory, RunDescription config, LongSupplier nanoTime)
      throws IOException {
    Path file = fileIn(directory);
    if (Files.exists(file)) {
      moveAside(file);
    }
    MetricsWriter writer = new MetricsWriter(file, config, 0, nanoTime);
    writer.config(0, 0);
    return writer;
  }

  private static Path moveAside(Path file) throws IOException {
    int number = 1;
    while (Files.exists(file.resolveSibling("metrics." + number + ".jsonl"))) {
      number++;
    }
    return Files.move(file, file.resolveSibling("metrics." + number + ".jsonl"));
  }

  /**
   * Goes on with a run's record from the step that its checkpoint holds: what was recorded after
   * that step will be recorded again, and is dropped. A directory without a record gets a new one,
   * and so does one whose record is damaged: the damaged one is kept beside it, with a warning, as
   * a whole checkpoint is worth more.
   *
   * @param step the checkpoint's step
   * @param consumedSamples the checkpoint's consumed samples
   * @throws IOException if the record cannot be read or written
   */
  public static MetricsWriter resume(
      Path directory, RunDescription config, int step, long consumedSamples) throws IOException {
    return resume(directory, config, step, consumedSamples, System::nanoTime);
  }

  /**
   * The same with a clock of the caller's.
   *
   * @param nanoTime as {@link System#nanoTime}
   */
  public static MetricsWriter resume(
      Path directory, RunDescription config, int step, long consumedSamples, LongSupplier nanoTime)
      throws IOException {
    Path file = fileIn(directory);
    double wall = 0;
    List<MetricsFile.Line> lines = Files.exists(file) ? whole(file) : List.of();
    if (Files.exists(file)) {
      StringBuilder kept = new StringBuilder();
      for (MetricsFile.Line line : lines) {
        boolean measured =
            !line.kind().equals(MetricsFile.CONFIG) && !line.kind().equals(MetricsFile.END);
        if (line.step() < step || (line.step() == step && measured)) {
          kept.append(line.text()).append('\n');
          wall = Math.max(wall, line.wallSeconds());
        }
      }
      Path beside = directory.resolve(MetricsFile.NAME + ".tmp");
      try {
        Files.writeString(beside, kept);
      } catch (IOException e) {
        Files.deleteIfExists(beside);
        throw WholeRecords.named(file, e);
      }
      Files.move(beside, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }
    MetricsWriter writer = new MetricsWriter(file, config, wall, nanoTime);
    writer.config(step, consumedSamples);
    return writer;
  }

  /** A record's lines; none where it is damaged, and then it lies elsewhere. */
  private static List<MetricsFile.Line> whole(Path file) throws IOException {
    try {
      return MetricsFile.read(file);
    } catch (IOException e) {
      LOG.warn(
          "{}: the record of the run so far is kept as {}, and a new one begins here",
          e.getMessage(),
          moveAside(file));
      return List.of();
    }
  }

  private static Path fileIn(Path directory) throws IOException {
    Files.createDirectories(directory);
    return directory.resolve(MetricsFile.NAME);
  }

  @Override
  public Path file() {
    return records.file();
  }

  /** Seconds since the run began, without the pauses between its sessions. */
  public double wallSeconds() {
    return wallBefore + (nanoTime.getAsLong() - opened) * 1e-9;
  }

  private void config(int step, long consumedSamples) throws IOException {
    Map<String, Object> line = line(MetricsFile.CONFIG, step, consumedSamples);
    line.put("format", MetricsFile.FORMAT);
    line.put("time", Instant.now().toString());
    line.put("name", config.name());
    line.put("arguments", config.arguments());
    line.put("total_parameters", config.totalParameters());
    line.put("active_parameters", config.activeParameters());
    line.put("tokens_per_sample", config.tokensPerSample());
    line.put("environment", config.environment());
    write(line);
  }

  @Override
  public void train(IterationRecord record) throws IOException {
    Map<String, Object> line =
        line(MetricsFile.TRAIN, record.iteration(), record.consumedSamples());
    line.put("values", record.values());
    write(line);
  }

  @Override
  public void validation(ValidationRecord record) throws IOException {
    Map<String, Object> line =
        line(MetricsFile.VALIDATION, record.iteration(), record.consumedSamples());
    line.put("set", record.set().key);
    line.put("values", record.values());
    write(line);
  }

  /**
   * Records the experts' load over the log interval that ends with a step: of each layer {@code
   * tokens}, {@code dropped}, {@code losses} and {@code figures}, and for people also {@code cv}
   * and {@code max_over_mean}, which follow from the tokens.
   */
  @Override
  public void expertLoad(int step, long consumedSamples, ExpertLoad load) throws IOException {
    Map<String, Object> line = line(MetricsFile.EXPERT_LOAD, step, consumedSamples);
    line.put("layers", load.layers().stream().map(MetricsWriter::layer).toList());
    write(line);
  }

  private static Map<String, Object> layer(ExpertLoad.Layer layer) {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("layer", layer.layer());
    map.put("tokens", layer.tokens());
    map.put("dropped", layer.dropped());
    map.put("cv", rounded(layer.cv()));
    map.put("max_over_mean", rounded(layer.maxOverMean()));
    map.put("losses", layer.losses());
    map.put("figures", layer.figures());
    return map;
  }

  private static double rounded(double value) {
    return Math.round(value * 1e4) / 1e4;
  }

  @Override
  public void end(int step, long consumedSamples, String reason) throws IOException {
    Map<String, Object> line = line(MetricsFile.END, step, consumedSamples);
    line.put("reason", reason);
    write(line);
  }

  private Map<String, Object> line(String kind, int step, long consumedSamples) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("kind", kind);
    line.put("step", step);
    line.put("consumed_samples", consumedSamples);
    line.put("tokens", consumedSamples * config.tokensPerSample());
    line.put("wall_s", Math.round(wallSeconds() * 1000) / 1000.0);
    return line;
  }

  private void write(Map<String, Object> line) throws IOException {
    String text = MetricsFile.JSON.writeValueAsString(line) + "\n";
    records.append(text.getBytes(StandardCharsets.UTF_8));
  }

  @Override
  public void close() throws IOException {
    records.close();
  }
}
