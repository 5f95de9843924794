package moe4j.training;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import moe4j.checkpoint.CheckpointStore;
import moe4j.config.BuildInfo;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.cuda.Cuda;
import moe4j.optimizer.AdamW;
import moe4j.training.record.DeviceMemory;
import moe4j.training.record.FlopCount;
import moe4j.training.record.MegatronLog;
import moe4j.training.record.ValidationRecord;
import moe4j.transformer.LanguageModel;
import moe4j.transformer.Parameter;
import moe4j.transformer.ParameterSet;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A pretraining run from its configuration to its end: checks, data, model, checkpoint, record,
 * loop. What is trained and on what data is the caller's.
 */
public final class Pretraining {
  private static final Logger LOG = LogManager.getLogger(Pretraining.class);

  private Pretraining() {}

  /** What is particular to a kind of model. */
  public interface Task {
    /** The tokenizer's vocabulary, before padding. */
    int vocabulary();

    /** The data, checked to be there. */
    Trainer.Datasets datasets() throws IOException;

    /** The model with its initial weights in {@code parameters}. */
    LanguageModel model(int paddedVocabulary, ParameterSet parameters);
  }

  /**
   * How a run ended.
   *
   * @param validation the last evaluation of the validation data, or null
   */
  public record Outcome(TrainState state, Trainer.End end, ValidationRecord validation) {}

  /**
   * Runs.
   *
   * @param watcher is told beside the record, or null
   */
  public static Outcome run(
      RunConfig config, Task task, ShutdownSignal signal, TrainingListener watcher)
      throws IOException {
    ComputeDevice.check(config.training().device());
    CheckpointConfig checkpoint = config.checkpoint();
    if (checkpoint.save() != null) {
      CheckpointStore.checkWritable(Path.of(checkpoint.save()));
    }
    Integer threads = config.training().numThreads();
    NativeLibraries.setThreads(threads == null ? NativeLibraries.defaultThreads() : threads);
    MegatronLog.arguments(config.arguments()).forEach(LOG::info);
    config.moe().warnings().forEach(LOG::warn);
    int padded = config.model().paddedVocabulary(task.vocabulary());
    LOG.info(MegatronLog.paddedVocabulary(task.vocabulary(), padded));
    Trainer.Datasets datasets = task.datasets();
    ScalarType dtype = config.training().bf16() ? ScalarType.BFloat16 : ScalarType.Float;
    try (ComputeDevice device = ComputeDevice.open(config.training());
        ParameterSet parameters =
            new ParameterSet(config.training().seed(), dtype, device.device())) {
      LanguageModel model = task.model(padded, parameters);
      LOG.info(MegatronLog.parameters(0, 0, parameters.elements()));
      int microBatches = config.training().microBatches();
      try (AdamW optimizer = new AdamW(parameters, config.optimizer(), microBatches)) {
        TrainState from = RunCheckpoints.load(config, parameters, optimizer, LOG::info);
        return train(config, model, optimizer, datasets, from, padded, signal, watcher);
      }
    }
  }

  private static Outcome train(
      RunConfig config,
      LanguageModel model,
      AdamW optimizer,
      Trainer.Datasets datasets,
      TrainState from,
      int paddedVocabulary,
      ShutdownSignal signal,
      TrainingListener watcher)
      throws IOException {
    ParameterSet parameters = model.parameters();
    String save = config.checkpoint().save();
    CheckpointStore store =
        save == null ? null : new CheckpointStore(Path.of(save), config.checkpoint().mostRecentK());
    Trainer.Saver saver =
        store == null
            ? null
            : state ->
                RunCheckpoints.save(
                    config,
                    store,
                    state,
                    parameters,
                    optimizer,
                    BuildInfo.version(),
                    BuildInfo.commit());
    try (RunRecorder recorder =
            new RunRecorder(
                config,
                about(config, parameters),
                FlopCount.of(config.model(), config.moe(), paddedVocabulary),
                Optional.of(DevicePeak.of(parameters.dtype(), parameters.device())),
                () -> memory(parameters.device()),
                from);
        Trainer trainer =
            new Trainer(
                config,
                model,
                optimizer,
                datasets,
                from,
                watcher == null ? recorder : TrainingListener.all(List.of(recorder, watcher)),
                saver,
                signal)) {
      Trainer.End end = trainer.train();
      recorder.end(trainer.state(), end.name().toLowerCase(java.util.Locale.ROOT));
      return new Outcome(trainer.state(), end, recorder.lastValidation());
    }
  }

  private static moe4j.training.record.RunConfig about(RunConfig config, ParameterSet parameters) {
    long total = parameters.elements();
    long experts =
        parameters.all().stream()
            .filter(Parameter::isOfExperts)
            .mapToLong(p -> p.tensor().numel())
            .sum();
    long active =
        experts == 0
            ? total
            : total - experts + experts / config.moe().numExperts() * config.moe().moeRouterTopk();
    String name = config.logging().runName();
    if (name == null) {
      Path directory = RunRecorder.metricsDirectory(config);
      name = directory == null ? "run" : directory.toAbsolutePath().getFileName().toString();
    }
    return new moe4j.training.record.RunConfig(
        name,
        config.arguments(),
        total,
        active,
        config.model().seqLength(),
        Map.of(
            "device", config.training().device(),
            "threads", String.valueOf(NativeLibraries.threads()),
            "java", Runtime.version().toString(),
            "commit", BuildInfo.commit(),
            "version", BuildInfo.version()));
  }

  /** The GPU's memory; null on a CPU. */
  private static DeviceMemory memory(Device device) {
    if (!device.is_cuda()) {
      return null;
    }
    Cuda.Memory now = Cuda.memory();
    return new DeviceMemory(now.allocated(), now.maxAllocated(), now.reserved(), now.maxReserved());
  }
}
