package moe4j.training;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import moe4j.checkpoint.CheckpointStore;
import moe4j.config.BuildInfo;
import moe4j.config.TrainingConfig;
import moe4j.console.Screen;
import moe4j.cost.Costs;
import moe4j.kernels.NativeLibraries;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.product.Bf16Products;
import moe4j.model.Datasets;
import moe4j.model.Divisions;
import moe4j.model.LanguageModel;
import moe4j.model.LogLines;
import moe4j.model.RunConfig;
import moe4j.model.Task;
import moe4j.model.TrainState;
import moe4j.optimizer.AdamW;
import moe4j.parallel.Groups;
import moe4j.parallel.Layout;
import moe4j.parallel.RankLostException;
import moe4j.parallel.World;
import moe4j.parallel.WorldEnvironment;
import moe4j.record.DeviceMemory;
import moe4j.record.RunDescription;
import moe4j.record.RunEnd;
import moe4j.record.ValidationRecord;
import moe4j.training.run.Agreement;
import moe4j.training.run.BestModel;
import moe4j.training.run.Resumption;
import moe4j.training.run.RunCheckpoints;
import moe4j.training.run.RunFlags;
import moe4j.training.run.SaveDirectory;
import moe4j.training.step.ComputeDevice;
import moe4j.training.step.DevicePeak;
import moe4j.training.step.TrainingListener;
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

  /**
   * How a run ended.
   *
   * @param validation the last evaluation of the validation data, or null
   * @param status the process's: 0, or where a signal stopped a run of which nothing is kept, the
   *     signal's
   */
  public record Outcome(TrainState state, RunEnd end, ValidationRecord validation, int status) {}

  /**
   * Joins the processes of a run; only rank 0 tells the console what is no error.
   *
   * @throws RankLostException where one does not come: one sentence that names it
   */
  public static World join(RunConfig config, WorldEnvironment environment) {
    if (environment.rank() > 0 && !LOG.isDebugEnabled()) {
      LogBackend.warningsOnly();
    }
    double minutes = config.parallel().distributedTimeoutMinutes();
    return World.open(environment, Duration.ofMillis(Math.round(minutes * 60_000)));
  }

  /**
   * Runs in one process.
   *
   * @param watcher is told beside the record, or null
   */
  public static Outcome run(
      RunConfig config, Task task, ShutdownSignal signal, TrainingListener watcher)
      throws IOException {
    return run(World.alone(), config, task, signal, watcher);
  }

  /**
   * Runs as one of a world's processes, all of which do.
   *
   * @param watcher is told beside the record, or null
   * @throws RankLostException where another process is gone
   */
  public static Outcome run(
      World world, RunConfig config, Task task, ShutdownSignal signal, TrainingListener watcher)
      throws IOException {
    try {
      return runRank(world, config, task, signal, watcher);
    } catch (RankLostException e) {
      throw e;
    } catch (IOException | RuntimeException | Error e) {
      for (Throwable cause = e.getCause(); cause != null; cause = cause.getCause()) {
        if (cause instanceof RankLostException lost) {
          throw lost;
        }
      }
      // The others wait for this rank somewhere: they are to know why it does not come.
      String message = e.getMessage() == null ? e.toString() : e.getMessage();
      world.leaveLastWords(message.lines().findFirst().orElse(""));
      throw e;
    } finally {
      signal.end();
    }
  }

  private static Outcome runRank(
      World world, RunConfig config, Task task, ShutdownSignal signal, TrainingListener watcher)
      throws IOException {
    Layout layout = config.parallel().layout(world.size());
    Divisions.checkBatch(config.training(), layout.data());
    Map<String, Object> arguments = new LinkedHashMap<>(task.arguments(config));
    Agreement.check(world, arguments);
    ComputeDevice.check(config.training().device());
    try (LogBackend.LogFile log = logFile(world, config, task);
        SaveDirectory save =
            SaveDirectory.open(
                world, config.checkpoint(), config.family().words().directory(), LOG::warn)) {
      return runRank(world, config, task, arguments, save, log, signal, watcher);
    }
  }

  /** Where the run's log is kept beside what it records; rank 0 writes it. */
  private static Path logPath(RunConfig config) {
    Path directory = RunRecorder.metricsDirectory(config);
    return directory == null ? null : directory.resolve(RunLog.FILE);
  }

  private static LogBackend.LogFile logFile(World world, RunConfig config, Task task) {
    Path file = logPath(config);
    boolean none = file == null || world.rank() > 0 || task.logLines().file() != null;
    return none ? LogBackend.of(List.of()) : LogBackend.alsoTo(file);
  }

  private static Outcome runRank(
      World world,
      RunConfig config,
      Task task,
      Map<String, Object> arguments,
      SaveDirectory save,
      LogBackend.LogFile log,
      ShutdownSignal signal,
      TrainingListener watcher)
      throws IOException {
    Layout layout = config.parallel().layout(world.size());
    boolean nccl = ComputeDevice.choose(config, world.environment());
    NativeLibraries.setThreads(threads(config.training(), world.environment()));
    arguments.put("world_size", world.size());
    arguments.put("data_parallel_size", layout.data());
    config.moe().warnings().forEach(LOG::warn);
    config.optimizer().warnings().forEach(LOG::warn);
    config.parallel().warnings(layout).forEach(LOG::warn);
    int padded = config.model().paddedVocabulary(task.vocabulary());
    LogLines lines = task.logLines();
    Path logPath = logPath(config);
    RunLog.lines(
        lines.arguments(arguments, task.vocabulary(), padded),
        () ->
            BriefLines.arguments(
                task.differing(config),
                arguments.size(),
                logPath == null ? null : logPath.toString(),
                config.family().words().directory().record(),
                BriefLines.width()));
    config.family().checkVocabulary(config.model(), padded, config.parallel());
    ScalarType dtype = config.training().bf16() ? ScalarType.BFloat16 : ScalarType.Float;
    if (config.training().bf16() && !config.training().device().equals("cuda")) {
      LOG.info(" > bf16 on this CPU: {}", Bf16Products.choice());
    }
    Groups groups = world.groups(layout, config.parallel().sequenceParallel(), nccl);
    try (Resumption resumption =
            Resumption.find(
                config, save.loadFrom(), save.resumes(), new WorldRanks(world), task, LOG::info);
        ComputeDevice device = ComputeDevice.open(config.training());
        ParameterSet parameters =
            new ParameterSet(config.training().seed(), dtype, device.device(), groups)) {
      TrainState from = resumption.from();
      RunConfig used = resumption.config();
      Datasets datasets = datasets(world, task, from);
      LanguageModel model = task.model(padded, parameters);
      RunLog.lines(lines.model(parameters), () -> List.of("parameters: " + parameters.elements()));
      int microBatches = config.training().microBatches() / layout.data();
      try (AdamW optimizer =
          new AdamW(parameters, used.optimizer(), microBatches, used.parallel())) {
        RunLog.lines(List.of(" > AdamW keeps " + optimizer.describe()), List::of);
        resumption.load(parameters, optimizer, LOG::info);
        log.begin();
        return train(
            world, used, task, model, optimizer, datasets, from, padded, save, signal, watcher);
      }
    }
  }

  /**
   * Index files are made by one process; the others find them there, or where file systems are not
   * shared, one of each machine makes them.
   */
  private static Datasets datasets(World world, Task task, TrainState from) throws IOException {
    Datasets datasets = world.rank() == 0 ? task.datasets(from) : null;
    world.barrier();
    if (datasets == null && world.environment().localRank() == 0) {
      datasets = task.datasets(from);
    }
    world.barrier();
    return datasets == null ? task.datasets(from) : datasets;
  }

  /** What the flag says, or what OpenMP is told, or this process's share of the cores. */
  private static int threads(TrainingConfig training, WorldEnvironment environment) {
    if (training.numThreads() != null) {
      return training.numThreads();
    }
    int threads = NativeLibraries.defaultThreads();
    boolean told = System.getenv("OMP_NUM_THREADS") != null;
    return told ? threads : Math.max(1, threads / environment.localSize());
  }

  private static Outcome train(
      World world,
      RunConfig config,
      Task task,
      LanguageModel model,
      AdamW optimizer,
      Datasets datasets,
      TrainState from,
      int paddedVocabulary,
      SaveDirectory directory,
      ShutdownSignal signal,
      TrainingListener watcher)
      throws IOException {
    ParameterSet parameters = model.parameters();
    String save = config.checkpoint().save();
    CheckpointStore store =
        save == null
            ? null
            : new CheckpointStore(
                Path.of(save), config.checkpoint().mostRecentK(), new WorldRanks(world));
    Trainer.Saver saver =
        store == null
            ? null
            : state -> {
              directory.check();
              return RunCheckpoints.save(config, store, state, parameters, optimizer, task);
            };
    BestModel best =
        config.checkpoint().keepBest()
            ? new BestModel(
                config,
                new WorldRanks(world),
                parameters,
                task.facts(),
                from,
                directory::check,
                LOG::info)
            : null;
    Trainer.Training trained =
        new Trainer.Training(model, optimizer, datasets, task.wholeSets(model));
    Trainer.Kept kept = new Trainer.Kept(saver, best);
    if (world.rank() > 0) {
      // One rank's record is enough: all have the same losses.
      TrainingListener nobody = TrainingListener.all(List.of());
      try (Trainer trainer = new Trainer(world, config, trained, from, nobody, kept, signal)) {
        RunEnd end = trainer.train();
        return new Outcome(trainer.state(), end, null, trainer.status(end));
      }
    }
    writeFlags(config, task.arguments(config));
    Costs costs = config.model().costs(paddedVocabulary);
    RunDescription about = about(world, config, task.arguments(config), parameters, costs);
    try (ProgressListener progress =
            new ProgressListener(config, Screen.current(), System::nanoTime);
        RunRecorder recorder =
            new RunRecorder(
                config,
                task.logLines(),
                samples -> costs.flops((double) samples, config.training().microBatchSize()),
                world.size(),
                DevicePeak.of(parameters.dtype(), parameters.device())::above,
                () -> memory(parameters.device()),
                progress::rates,
                RunRecorder.open(config, about, from));
        Trainer trainer =
            new Trainer(
                world,
                config,
                trained,
                from,
                TrainingListener.all(
                    Stream.of(directory.guard(), progress, recorder, watcher)
                        .filter(Objects::nonNull)
                        .toList()),
                kept,
                signal)) {
      RunEnd end = trainer.train();
      recorder.end(trainer.state(), end.word());
      return new Outcome(trainer.state(), end, recorder.lastValidation(), trainer.status(end));
    }
  }

  /** A run without the file of its flags is a run all the same. */
  private static void writeFlags(RunConfig config, Map<String, Object> arguments) {
    Path directory = RunRecorder.metricsDirectory(config);
    if (directory == null) {
      return;
    }
    try {
      RunFlags.write(directory, config.family().name(), arguments);
    } catch (IOException e) {
      LOG.warn("{} could not be written: {}", directory.resolve(RunFlags.FILE), e.getMessage());
    }
  }

  /** Elements of a parameter on all ranks together, each counted once. */
  private static long elements(Parameter parameter, Layout layout) {
    long each = parameter.globalShape().stream().reduce(1L, (a, b) -> a * b);
    if (parameter.pieceNames().isEmpty()) {
      return each * (parameter.isOfExperts() ? layout.expert() : 1);
    }
    return each * parameter.pieceNames().size() * layout.expert();
  }

  private static RunDescription about(
      World world,
      RunConfig config,
      Map<String, Object> arguments,
      ParameterSet parameters,
      Costs costs) {
    Layout layout = parameters.groups().layout();
    long total = parameters.all().stream().mapToLong(p -> elements(p, layout)).sum();
    String name = config.logging().runName();
    if (name == null) {
      Path directory = RunRecorder.metricsDirectory(config);
      name = directory == null ? "run" : directory.toAbsolutePath().getFileName().toString();
    }
    return new RunDescription(
        name,
        arguments,
        total,
        total - costs.idleParameters(),
        config.model().sequenceLength(),
        Map.of(
            RunDescription.MODEL,
            config.family().title(),
            "device",
            config.training().device(),
            "threads",
            String.valueOf(NativeLibraries.threads()),
            "processes",
            String.valueOf(world.size()),
            "layout",
            layout.toString(),
            "java",
            Runtime.version().toString(),
            "commit",
            BuildInfo.commit(),
            "version",
            BuildInfo.version()));
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
