package moe4j.model.txl;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import moe4j.checkpoint.CheckpointStore;
import moe4j.config.CheckpointConfig;
import moe4j.config.Flags;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.model.ModelSpec;
import moe4j.model.RunConfig;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.ParallelConfig;

/**
 * A run of {@code pretrain-txl}: upstream's flags, checked, and the run they mean.
 *
 * @param config the run in the words that all runs have; the model's flags are its own
 */
public record TransformerXlRun(
    RunConfig config,
    TransformerXlConfig model,
    TrainingFlags training,
    CorpusFlags corpus,
    DeviceFlags device) {

  private static final List<Class<? extends Record>> PARTS =
      List.of(
          Presets.Options.class,
          TransformerXlConfig.class,
          MoeConfig.class,
          TrainingFlags.class,
          CorpusFlags.class,
          DeviceFlags.class,
          ParallelConfig.class,
          UpstreamFlags.class);

  /** The flags of a pretraining command. */
  public static Flags flags() {
    return Flags.of(PARTS);
  }

  /** The same behind some of a command's own. */
  public static Flags flags(Class<? extends Record> own) {
    List<Class<? extends Record>> types = new ArrayList<>(PARTS);
    types.add(0, own);
    return Flags.of(types);
  }

  /** A run of one process from its command line. */
  public static TransformerXlRun parse(String... args) {
    return of(flags().parse(Presets.expand(args)).withoutPositional(), 1);
  }

  /**
   * A run of so many processes from its parsed flags.
   *
   * @throws IllegalArgumentException where it cannot be: one sentence
   */
  public static TransformerXlRun of(Flags.Parsed parsed, int processes) {
    TransformerXlConfig model = parsed.get(TransformerXlConfig.class);
    TrainingFlags training = parsed.get(TrainingFlags.class);
    MoeConfig moe = parsed.get(MoeConfig.class);
    DeviceFlags device = parsed.get(DeviceFlags.class);
    ParallelConfig parallel = parsed.get(ParallelConfig.class);
    if (parallel.tensorModelParallelSize() > 1) {
      throw new IllegalArgumentException(
          "--tensor-model-parallel-size %d: a Transformer-XL's matrices are whole on every process"
              .formatted(parallel.tensorModelParallelSize()));
    }
    int ranks = parallel.layout(processes).data();
    divides("--batch-size", training.batchSize(), ranks);
    divides("--eval-batch-size", training.evalBatchSize(), ranks);
    model.lengths().evaluation(training.evalTgtLen());
    moe.moeLayers(model.nLayer(), "--n-layer");
    List<String> line = training(training, device, training.batchSize() / ranks);
    line.addAll(logging(training, device));
    Flags.Parsed common =
        Flags.of(TrainingConfig.class, LoggingConfig.class).parse(line.toArray(new String[0]));
    return of(
        new RunConfig(
            new ModelSpec(new TransformerXlFamily(), model, moe),
            optimizer(training),
            common.get(TrainingConfig.class),
            parsed.get(CorpusFlags.class),
            checkpoint(training),
            common.get(LoggingConfig.class),
            parallel,
            new Upstream(training, device)));
  }

  /** Upstream's flags that the common records are made of. */
  record Upstream(TrainingFlags training, DeviceFlags device) {}

  /** A run of this family with its flags by kind. */
  static TransformerXlRun of(RunConfig config) {
    Upstream upstream = (Upstream) config.more();
    return new TransformerXlRun(
        config,
        config.model().flags(TransformerXlConfig.class),
        upstream.training(),
        config.data(CorpusFlags.class),
        upstream.device());
  }

  private static void divides(String flag, int columns, int ranks) {
    if (columns % ranks != 0) {
      throw new IllegalArgumentException(
          "%s %d is no multiple of the %d processes that share it".formatted(flag, columns, ranks));
    }
  }

  private static OptimizerConfig optimizer(TrainingFlags training) {
    List<String> line = new ArrayList<>();
    add(line, "--lr", training.lr());
    add(line, "--min-lr", training.scheduler().equals("cosine") ? training.etaMin() : 0);
    add(line, "--lr-decay-style", training.scheduler());
    add(line, "--lr-warmup-iters", training.warmupStep());
    add(line, "--weight-decay", 0);
    add(line, "--clip-grad", training.clip());
    return Flags.parse(OptimizerConfig.class, line.toArray(new String[0]));
  }

  private static List<String> training(TrainingFlags training, DeviceFlags device, int rows) {
    List<String> line = new ArrayList<>();
    add(line, "--micro-batch-size", rows);
    add(line, "--global-batch-size", training.batchSize());
    add(line, "--train-iters", training.maxStep());
    add(line, "--seed", training.seed());
    add(line, "--eval-interval", training.evalInterval());
    add(line, "--device", device.device());
    add(line, "--num-threads", device.numThreads());
    add(line, "--exit-interval", device.exitInterval());
    add(line, "--exit-duration-in-mins", device.exitDurationInMins());
    add(line, "--bf16", device.bf16());
    add(line, "--deterministic-mode", device.deterministicMode());
    add(line, "--no-fused-kernels", device.noFusedKernels());
    add(line, "--no-check-for-nan-in-loss-and-grad", device.noCheckForNanInLossAndGrad());
    if (device.device().equals("cuda")) {
      add(line, "--cuda-graph", device.cudaGraph());
    }
    return line;
  }

  private static CheckpointConfig checkpoint(TrainingFlags training) {
    List<String> line = new ArrayList<>();
    if (training.workDir() != null) {
      add(line, "--save", training.workDir());
      Integer interval = training.saveInterval();
      add(line, "--save-interval", interval == null ? training.evalInterval() : interval);
      add(line, "--most-recent-k", 1);
      line.add("--keep-best");
      add(line, "--auto-resume", training.autoResume());
      add(line, "--overwrite", training.overwrite());
    }
    if (training.restart()) {
      String from = training.restartDir();
      add(line, "--load", from == null ? training.workDir() : from);
      if (!training.autoResume()) {
        line.add("--exit-on-missing-checkpoint");
      }
    }
    add(line, "--override-data", training.overrideData());
    return Flags.parse(CheckpointConfig.class, line.toArray(new String[0]));
  }

  private static List<String> logging(TrainingFlags training, DeviceFlags device) {
    List<String> line = new ArrayList<>();
    add(line, "--log-interval", training.logInterval());
    add(line, "--log-params-norm", device.logParamsNorm());
    add(line, "--tensorboard-dir", device.tensorboardDir());
    add(line, "--run-name", device.runName());
    if (device.profile()) {
      line.add("--profile");
      add(line, "--profile-step-start", device.profileStepStart());
      add(line, "--profile-step-end", device.profileStepEnd());
    }
    return line;
  }

  /** A flag and its value, which begins with no dash; nothing for none. */
  private static void add(List<String> line, String flag, Object value) {
    if (value instanceof Boolean on) {
      if (on) {
        line.add(flag);
      }
    } else if (value != null) {
      line.add(flag);
      line.add(value.toString());
    }
  }

  /** Every argument by upstream's name or, where it has none, by Megatron's; defaults filled in. */
  Map<String, Object> arguments() {
    Map<String, Object> all = new LinkedHashMap<>();
    for (Record part : List.of(model, training, corpus, device, config.parallel())) {
      all.putAll(Flags.arguments(part));
    }
    if (config.moe().enabled()) {
      all.putAll(Flags.arguments(config.moe()));
    }
    return all;
  }

  /** Those of them that differ from their flags' defaults. */
  Map<String, Object> differing() {
    Map<String, Object> all = new LinkedHashMap<>();
    for (Record part : List.of(model, training, corpus, device, config.parallel(), config.moe())) {
      all.putAll(Flags.differing(part));
    }
    return all;
  }

  /** The same, with nothing kept. */
  public TransformerXlRun withoutWorkDir() {
    return with(config.withCheckpoint(Flags.parse(CheckpointConfig.class)));
  }

  /** The same model and data in another run. */
  public TransformerXlRun with(RunConfig other) {
    return new TransformerXlRun(other, model, training, corpus, device);
  }

  /** Where the run is kept; null for nowhere. */
  public String workDir() {
    return config.checkpoint().save();
  }

  /**
   * Refuses to go on with a run that is not there.
   *
   * @param again whether the launcher has started the processes again
   */
  public void checkRestart(boolean again) throws IOException {
    if (again || !training.restart() || training.autoResume()) {
      return;
    }
    String from = config.checkpoint().load();
    if (new CheckpointStore(Path.of(from), -1).iterations().isEmpty()) {
      throw new IllegalArgumentException(
          "--restart: --%s %s holds no checkpoint"
              .formatted(training.restartDir() == null ? "work-dir" : "restart-dir", from));
    }
  }
}
