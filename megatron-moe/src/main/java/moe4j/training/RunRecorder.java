package moe4j.training;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.DoubleFunction;
import java.util.function.LongToDoubleFunction;
import java.util.function.Supplier;
import moe4j.model.LogLines;
import moe4j.model.RunConfig;
import moe4j.model.TrainState;
import moe4j.record.DeviceMemory;
import moe4j.record.ExpertLoad;
import moe4j.record.IterationRecord;
import moe4j.record.MegatronLog;
import moe4j.record.MetricsWriter;
import moe4j.record.Peak;
import moe4j.record.PythonFormat;
import moe4j.record.RunDescription;
import moe4j.record.RunRecord;
import moe4j.record.TensorBoardWriter;
import moe4j.record.ValidationRecord;
import moe4j.tensor.Scopes;
import moe4j.training.step.StepMetrics;
import moe4j.training.step.TrainingListener;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;

/** Writes a run down: Megatron's log lines, {@code metrics.jsonl}, TensorBoard's events. */
public final class RunRecorder implements TrainingListener, Closeable {
  private static final Logger LOG = LogManager.getLogger(RunRecorder.class);

  private final RunConfig config;
  private final LogLines lines;
  private final LongToDoubleFunction flops;
  private final int processes;
  private final DoubleFunction<Optional<Peak>> peak;
  private final Supplier<DeviceMemory> memory;
  private final Supplier<List<String>> pace;
  private final List<RunRecord> records;
  private ValidationRecord lastValidation;
  private boolean memoryLogged;
  private boolean withoutPeakSaid;

  /**
   * Begins or continues a record.
   *
   * @param lines what the log looks like
   * @param flops of the model for so many sequences
   * @param processes among which the model's operations are divided
   * @param peak what MFU is a share of, by the rate; nothing where that is not known
   * @param memory tells the GPU's memory, or null on a CPU
   * @param pace what a terminal's line of an interval ends with: the rate and the time left
   * @param records the files, open; see {@link #open}
   */
  RunRecorder(
      RunConfig config,
      LogLines lines,
      LongToDoubleFunction flops,
      int processes,
      DoubleFunction<Optional<Peak>> peak,
      Supplier<DeviceMemory> memory,
      Supplier<List<String>> pace,
      List<RunRecord> records) {
    this.config = config;
    this.lines = lines;
    this.flops = flops;
    this.processes = processes;
    this.peak = peak;
    this.memory = memory;
    this.pace = pace;
    this.records = List.copyOf(records);
  }

  /**
   * Opens a run's files.
   *
   * @param about what the run is
   * @param from where the run stands: later records of an earlier session are dropped
   * @throws IOException where the files cannot be written
   */
  static List<RunRecord> open(RunConfig config, RunDescription about, TrainState from)
      throws IOException {
    List<RunRecord> records = new ArrayList<>();
    Path metricsDir = metricsDirectory(config);
    if (metricsDir != null) {
      records.add(
          from.iteration() == 0
              ? MetricsWriter.create(metricsDir, about)
              : MetricsWriter.resume(
                  metricsDir, about, from.iteration(), from.consumedTrainSamples()));
    }
    String events = config.logging().tensorboardDir();
    if (events != null) {
      records.add(TensorBoardWriter.create(Path.of(events)));
    }
    return records;
  }

  /** Where {@code metrics.jsonl} goes: {@code --metrics-dir}, or {@code --save}, or null. */
  public static Path metricsDirectory(RunConfig config) {
    String directory =
        config.logging().metricsDir() != null
            ? config.logging().metricsDir()
            : config.checkpoint().save();
    return directory == null ? null : Path.of(directory);
  }

  /** The validation loss of the last step that has one, or null. */
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
    Optional<Peak> of = peak.apply(rate);
    sayWithoutPeak(of, rate, state.iteration());
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
            batch * (double) config.model().sequenceLength() / seconds,
            of.map(p -> p.percent(rate)).orElse(null),
            of.orElse(null),
            Scopes.livePointers(),
            load == null ? null : load.summary(),
            reading.meanFigures(),
            taken);
    RunLog.lines(
        lines.training(record),
        () ->
            List.of(
                BriefLines.training(
                    record, config.training().steps(), pace.get(), BriefLines.width())));
    logMemory(state.iteration(), taken);
    write(
        state,
        file -> {
          file.train(record);
          if (load != null) {
            file.expertLoad(state.iteration(), state.consumedTrainSamples(), load);
          }
        });
  }

  /** Once: the figure is missing wherever this is so. */
  private void sayWithoutPeak(Optional<Peak> of, double rate, int iteration) {
    if (of.isEmpty() && !withoutPeakSaid) {
      withoutPeakSaid = true;
      LOG.info(
          "MFU is n/a at iteration {}: its {} TFLOP/s are above the peak that is known",
          iteration,
          PythonFormat.fixed(rate / 1e12, 3));
    }
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
    ValidationRecord.Set set = set(validation);
    ValidationRecord record =
        new ValidationRecord(
            validation.state().iteration(),
            validation.state().consumedTrainSamples(),
            set,
            withDerived(Map.of(IterationRecord.LM_LOSS, validation.loss())));
    boolean counts = set == ValidationRecord.Set.TRAINING || set == ValidationRecord.Set.VALIDATION;
    if (counts || (set == ValidationRecord.Set.AGAIN && lastValidation == null)) {
      lastValidation = record;
    }
    RunLog.lines(
        lines.validation(record),
        () ->
            set == ValidationRecord.Set.AGAIN
                ? List.of()
                : List.of(
                    BriefLines.validation(record, config.training().steps(), BriefLines.width())));
    write(validation.state(), file -> file.validation(record));
  }

  private static ValidationRecord.Set set(Validation validation) {
    if (validation.part() == EvaluationPart.TEST) {
      return ValidationRecord.Set.TEST;
    }
    if (!validation.last()) {
      return ValidationRecord.Set.TRAINING;
    }
    return validation.again() ? ValidationRecord.Set.AGAIN : ValidationRecord.Set.VALIDATION;
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
    write(state, file -> file.end(state.iteration(), state.consumedTrainSamples(), reason));
  }

  private interface Writing {
    void to(RunRecord file) throws IOException;
  }

  /** A record that cannot be written is no reason to lose what is learnt. */
  private void write(TrainState state, Writing writing) {
    for (RunRecord file : records) {
      try {
        writing.to(file);
      } catch (IOException e) {
        LOG.warn(
            "{}; what iteration {} came to is missing there, and the run goes on",
            e.getMessage(),
            state.iteration());
      }
    }
  }

  @Override
  public void close() {
    for (RunRecord file : records) {
      try {
        file.close();
      } catch (IOException e) {
        LOG.warn("{} may lack its end: {}", file.file(), e.getMessage());
      }
    }
  }
}
