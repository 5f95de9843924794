package moe4j.model.txl;

import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import moe4j.checkpoint.CheckpointStore;
import moe4j.config.Builders;
import moe4j.config.CheckpointConfig;
import moe4j.config.CheckpointConfigBuilder;
import moe4j.config.Faults;
import moe4j.config.Flags;
import moe4j.config.LoggingConfig;
import moe4j.config.LoggingConfigBuilder;
import moe4j.config.TrainingConfig;
import moe4j.config.TrainingConfigBuilder;
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

  static final List<Class<? extends Record>> PARTS =
      List.of(
          Presets.Options.class,
          TransformerXlConfig.class,
          MoeConfig.class,
          TrainingFlags.class,
          CorpusFlags.class,
          DeviceFlags.class,
          ParallelConfig.class,
          UpstreamFlags.class);

  /**
   * A run of so many processes from its parsed flags.
   *
   * @throws IllegalArgumentException where it cannot be: one sentence
   */
  public static TransformerXlRun of(Flags.Parsed parsed, int processes) {
    return of(
        parsed.get(TransformerXlConfig.class),
        parsed.get(MoeConfig.class),
        parsed.get(TrainingFlags.class),
        parsed.get(CorpusFlags.class),
        parsed.get(DeviceFlags.class),
        parsed.get(ParallelConfig.class),
        processes);
  }

  /**
   * A run of so many processes that a Java program puts together; each record has a builder.
   *
   * @throws IllegalArgumentException for what a command line would be refused for, too: a sentence
   *     for each fault
   */
  public static TransformerXlRun of(
      TransformerXlConfig model,
      MoeConfig moe,
      TrainingFlags training,
      CorpusFlags corpus,
      DeviceFlags device,
      ParallelConfig parallel,
      int processes) {
    Builders.checkTogether(List.of(model, moe, training, corpus, device, parallel));
    Faults faults = new Faults();
    boolean whole = parallel.tensorModelParallelSize() == 1;
    faults.check(
        !whole,
        "--tensor-model-parallel-size %d: a Transformer-XL's matrices are whole on every process",
        parallel.tensorModelParallelSize());
    int ranks = whole ? faults.made(() -> parallel.layout(processes).data(), 1) : 1;
    faults.none(() -> divides("--batch-size", training.batchSize(), ranks));
    faults.none(() -> divides("--eval-batch-size", training.evalBatchSize(), ranks));
    faults.none(() -> model.lengths().evaluation(training.evalTgtLen()));
    faults.none(() -> moe.moeLayers(model.nLayer(), "--n-layer"));
    faults.refuse();
    return of(
        new RunConfig(
            new ModelSpec(new TransformerXlFamily(), model, moe),
            optimizer(training, device),
            training(training, device, training.batchSize() / ranks),
            corpus,
            checkpoint(training),
            logging(training, device),
            parallel,
            new Upstream(training, device)));
  }

  /** Upstream's flags that the common records are made of. */
  record Upstream(TrainingFlags training, DeviceFlags device) {}

  /** A run of this family with its flags by kind. */
  static TransformerXlRun of(RunConfig config) {
    if (!(config.more() instanceof Upstream upstream)) {
      throw new IllegalArgumentException(
          "a Transformer-XL's run is made of upstream's flags: TransformerXlRun.of puts it together");
    }
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

  private static OptimizerConfig optimizer(TrainingFlags training, DeviceFlags device) {
    return OptimizerConfig.builder()
        .lr(training.lr())
        .minLr(training.scheduler().equals("cosine") ? training.etaMin() : 0)
        .lrDecayStyle(training.scheduler())
        .lrWarmupIters(training.warmupStep())
        .weightDecay(0)
        .clipGrad(training.clip())
        .usePrecisionAwareOptimizer(device.usePrecisionAwareOptimizer())
        .mainGradsDtype(device.mainGradsDtype())
        .mainParamsDtype(device.mainParamsDtype())
        .expAvgDtype(device.expAvgDtype())
        .expAvgSqDtype(device.expAvgSqDtype())
        .masterStorage(device.masterStorage())
        .build();
  }

  private static TrainingConfig training(TrainingFlags training, DeviceFlags device, int rows) {
    TrainingConfigBuilder builder =
        TrainingConfig.builder()
            .microBatchSize(rows)
            .globalBatchSize(training.batchSize())
            .trainIters(training.maxStep())
            .seed(training.seed())
            .evalInterval(training.evalInterval())
            .device(device.device())
            .numThreads(device.numThreads())
            .exitInterval(device.exitInterval())
            .exitDurationInMins(device.exitDurationInMins())
            .bf16(device.bf16())
            .deterministicMode(device.deterministicMode())
            .noFusedKernels(device.noFusedKernels())
            .noCheckForNanInLossAndGrad(device.noCheckForNanInLossAndGrad());
    return device.device().equals("cuda")
        ? builder.cudaGraph(device.cudaGraph()).build()
        : builder.build();
  }

  private static CheckpointConfig checkpoint(TrainingFlags training) {
    CheckpointConfigBuilder builder =
        CheckpointConfig.builder().overrideData(training.overrideData());
    if (training.workDir() != null) {
      Integer interval = training.saveInterval();
      builder
          .save(training.workDir())
          .saveInterval(interval == null ? (Integer) training.evalInterval() : interval)
          .mostRecentK(1)
          .keepBest(true)
          .autoResume(training.autoResume())
          .overwrite(training.overwrite());
    }
    if (training.restart()) {
      String from = training.restartDir();
      builder
          .load(from == null ? training.workDir() : from)
          .exitOnMissingCheckpoint(!training.autoResume());
    }
    return builder.build();
  }

  private static LoggingConfig logging(TrainingFlags training, DeviceFlags device) {
    LoggingConfigBuilder builder =
        LoggingConfig.builder()
            .logInterval(training.logInterval())
            .logParamsNorm(device.logParamsNorm())
            .tensorboardDir(device.tensorboardDir())
            .runName(device.runName());
    if (device.profile()) {
      builder
          .profile(true)
          .profileStepStart(device.profileStepStart())
          .profileStepEnd(device.profileStepEnd());
    }
    return builder.build();
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
