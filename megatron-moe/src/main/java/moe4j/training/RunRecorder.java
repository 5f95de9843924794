package moe4j.training;

import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.LongToDoubleFunction;
import java.util.function.Supplier;
import moe4j.kernels.Scopes;
import moe4j.training.record.DeviceMemory;
import moe4j.training.record.ExpertLoad;
import moe4j.training.record.IterationRecord;
import moe4j.training.record.MegatronLog;
import moe4j.training.record.MetricsWriter;
import moe4j.training.record.Peak;
import moe4j.training.record.TensorBoardWriter;
import moe4j.training.record.ValidationRecord;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/** Writes a run down: Megatron's log lines, {@code metrics.jsonl}, TensorBoard's events. */
public final class RunRecorder implements TrainingListener, Closeable {
  private static final Logger LOG = LogManager.getLogger(RunRecorder.class);

  private final RunConfig config;
  private final LogLines lines;
  private final LongToDoubleFunction flops;
  private final int processes;
  private final Optional<Peak> peak;
  private final Supplier<DeviceMemory> memory;
  private final MetricsWriter metrics;
  private final TensorBoardWriter tensorBoard;
  private ValidationRecord lastValidation;
  private boolean memoryLogged;

  /**
   * Begins or continues a record.
   *
   * @param about what the run is
   * @param lines what the log looks like
   * @param flops of the model for so many sequences
   * @param processes among which the model's operations are divided
   * @param peak what MFU is a share of
   * @param memory tells the GPU's memory, or null on a CPU
   * @param from where the run stands: later records of an earlier session are dropped
   * @throws IOException where the files cannot be written
   */
  public RunRecorder(
      RunConfig config,
      moe4j.training.record.RunConfig about,
      LogLines lines,
      LongToDoubleFunction flops,
      int processes,
      Optional<Peak> peak,
      Supplier<DeviceMemory> memory,
      TrainState from)
      throws IOException {
    this.config = config;
    this.lines = lines;
    this.flops = flops;
    this.processes = processes;
    this.peak = peak;
    this.memory = memory;
    Path metricsDir = metricsDirectory(config);
    boolean fresh = from.iteration() == 0;
    this.metrics =
        metricsDir == null
            ? null
            : fresh
                ? MetricsWriter.create(metricsDir, about)
                : MetricsWriter.resume(
                    metricsDir, about, from.iteration(), from.consumedTrainSamples());
    String events = config.logging().tensorboardDir();
    this.tensorBoard = events == null ? null : TensorBoardWriter.create(Path.of(events));
  }

  /** Where {@code metrics.jsonl} goes: {@code --metrics-dir}, or {@code --save}, or null. */
  public static Path metricsDirectory(RunConfig config) {
    String directory =
        config.logging().metricsDir() != null
            ? config.logging().metricsDir()
            : config.checkpoint().save();
    return directory == null ? null : Path.of(directory);
  }

  /** The last evaluation at the end of the run, or null. */
  public ValidationRecord lastValidation() {
    return lastValidation;
  }

  @Override
  public void interval(Interval interval) {
    TrainState state = interval.state();
    StepMetrics.Reading reading = interval.reading();
    int batch = config.training().globalBatchSize();
    double seconds = interval.seconds() / interval.timed();
    double rate = flops.applyAsDouble(batch) / seconds / processes;
    ExpertLoad load = load(reading);
    DeviceMemory taken = memory.get();
    IterationRecord record =
        new IterationRecord(
            state.iteration(),
            config.training().steps(),
            state.consumedTrainSamples(),
            0,
            seconds * 1000,
            config.logging().logThroughput() ? rate / 1e12 : null,
            interval.learningRate(),
            batch,
            withDerived(reading.losses()),
            1.0,
            interval.gradNorm(),
            interval.zeros(),
            interval.paramsNorm(),
            reading.skipped(),
            reading.notFinite(),
            batch * (double) config.model().seqLength() / seconds,
            peak.map(p -> p.percent(rate)).orElse(null),
            peak.orElse(null),
            Scopes.livePointers(),
            load == null ? null : load.summary(),
            reading.meanFigures(),
            taken);
    lines.training(record).forEach(LOG::info);
    logMemory(state.iteration(), taken);
    write(
        () -> {
          if (metrics != null) {
            metrics.train(record);
          }
          if (tensorBoard != null) {
            tensorBoard.train(record);
          }
          if (load != null && metrics != null) {
            metrics.expertLoad(state.iteration(), state.consumedTrainSamples(), load);
          }
          if (load != null && tensorBoard != null) {
            tensorBoard.expertLoad(state.iteration(), load);
          }
        });
  }

  private Map<String, Double> withDerived(Map<String, Double> losses) {
    Map<String, Double> all = new LinkedHashMap<>(losses);
    lines.derived(losses).forEach(all::putIfAbsent);
    return all;
  }

  /** Once, as Megatron does, behind the first whole interval: the step is captured by then. */
  private void logMemory(int iteration, DeviceMemory taken) {
    if (taken != null && !memoryLogged && iteration % config.logging().logInterval() == 0) {
      memoryLogged = true;
      LOG.info(
          MegatronLog.memory(
              0,
              iteration,
              taken.allocated(),
              taken.maxAllocated(),
              taken.reserved(),
              taken.maxReserved()));
    }
  }

  /** What the experts did, null without experts. */
  static ExpertLoad load(StepMetrics.Reading reading) {
    if (reading.loads().isEmpty()) {
      return null;
    }
    List<ExpertLoad.Layer> layers = new ArrayList<>();
    reading
        .loads()
        .forEach(
            (layer, rows) -> {
              long computed = rows.stream().mapToLong(Long::longValue).sum();
              layers.add(
                  new ExpertLoad.Layer(
                      layer,
                      rows,
                      reading.routed().getOrDefault(layer, 0L) - computed,
                      of(layer, reading.lossesByLayer()),
                      of(layer, reading.figures())));
            });
    return new ExpertLoad(layers);
  }

  private static Map<String, Double> of(int layer, Map<String, Map<Integer, Double>> byLayer) {
    Map<String, Double> values = new LinkedHashMap<>();
    byLayer.forEach(
        (name, layers) -> {
          if (layers.containsKey(layer)) {
            values.put(name, layers.get(layer));
          }
        });
    return values;
  }

  @Override
  public void validation(Validation validation) {
    ValidationRecord.Set set =
        validation.part() == EvaluationPart.TEST
            ? ValidationRecord.Set.TEST
            : validation.last() ? ValidationRecord.Set.VALIDATION : ValidationRecord.Set.TRAINING;
    ValidationRecord record =
        new ValidationRecord(
            validation.state().iteration(),
            validation.state().consumedTrainSamples(),
            set,
            withDerived(Map.of(IterationRecord.LM_LOSS, validation.loss())));
    if (set != ValidationRecord.Set.TEST) {
      lastValidation = record;
    }
    lines.validation(record).forEach(LOG::info);
    write(
        () -> {
          if (metrics != null) {
            metrics.validation(record);
          }
          if (tensorBoard != null) {
            tensorBoard.validation(record);
          }
        });
  }

  @Override
  public void saved(TrainState state, String directory) {
    LOG.info(
        "  successfully saved checkpoint from iteration {} to {}", state.iteration(), directory);
  }

  @Override
  public void say(String sentence) {
    LOG.info(sentence);
  }

  /** Notes that the run ended, and why. */
  public void end(TrainState state, String reason) {
    write(
        () -> {
          if (metrics != null) {
            metrics.end(state.iteration(), state.consumedTrainSamples(), reason);
          }
        });
  }

  private interface Writing {
    void run() throws IOException;
  }

  private static void write(Writing writing) {
    try {
      writing.run();
    } catch (IOException e) {
      throw new UncheckedIOException(e.getMessage(), e);
    }
  }

  @Override
  public void close() throws IOException {
    if (metrics != null) {
      metrics.close();
    }
    if (tensorBoard != null) {
      tensorBoard.close();
    }
  }
}
