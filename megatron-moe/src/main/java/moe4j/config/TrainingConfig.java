package moe4j.config;

/** The length, the batches and the device of a training, by Megatron's flags. */
public record TrainingConfig(
    @Flag(help = "sequences a micro-batch", required = true) int microBatchSize,
    @Flag(
            help = "sequences a step",
            otherwise = "micro-batch-size, times the data-parallel processes")
        Integer globalBatchSize,
    @Flag(help = "steps to train for") Integer trainIters,
    @Flag(help = "sequences to train for") Long trainSamples,
    @Flag(help = "seed of initial weights, data order and dropout", value = "1234") int seed,
    @Flag(help = "bf16 parameters with fp32 masters") boolean bf16,
    @Flag(help = "global batches of an evaluation", value = "100") int evalIters,
    @Flag(help = "steps between evaluations", otherwise = "none before the end")
        Integer evalInterval,
    @Flag(help = "stop and save at a step this divides") Integer exitInterval,
    @Flag(help = "stop and save after so many minutes") Integer exitDurationInMins,
    @Flag(help = "go on, without the update, when a loss or gradient is not finite")
        boolean noCheckForNanInLossAndGrad,
    @Flag(
            help = "where to compute",
            value = "cpu",
            choices = {"cpu", "cuda"})
        String device,
    @Flag(
            help = "capture the training step as CUDA graphs",
            value = "on",
            choices = {"on", "off"},
            needs = "device cuda",
            tolerated = true)
        String cudaGraph,
    @Flag(
            help = "kernel of causal attention; auto takes the fastest, by measurement",
            value = "auto",
            choices = {"auto", "flash", "fused", "efficient", "unfused"},
            needs = "device cuda",
            tolerated = true)
        String attentionBackend,
    @Flag(
            help = "the same bits whenever a run is repeated, at some cost of speed",
            needs = "device cuda",
            tolerated = true)
        boolean deterministicMode,
    @Flag(
            help = "compute with libtorch's operations and without kernels of moe4j's own",
            needs = "device cuda",
            tolerated = true)
        boolean noFusedKernels,
    @Flag(help = "threads of the CPU's kernels", otherwise = "OMP_NUM_THREADS, or one a core")
        Integer numThreads) {

  /** Fills the global batch and checks the whole. */
  public TrainingConfig {
    Faults faults = new Faults();
    faults.positive("micro-batch-size", microBatchSize);
    if (globalBatchSize == null) {
      globalBatchSize = microBatchSize;
    }
    faults.check(
        microBatchSize > 0 && (globalBatchSize < 1 || globalBatchSize % microBatchSize != 0),
        "--global-batch-size %d is no multiple of --micro-batch-size %d",
        globalBatchSize,
        microBatchSize);
    faults.check(
        trainIters != null && trainSamples != null,
        "--train-iters and --train-samples exclude each other");
    faults.check(
        trainIters == null && trainSamples == null, "--train-iters or --train-samples is required");
    faults.check(
        (trainIters != null && trainIters < 0) || (trainSamples != null && trainSamples < 0),
        "--train-iters and --train-samples: none may be negative");
    if (trainSamples != null && trainSamples >= 0 && globalBatchSize > 0) {
      long steps = trainSamples / globalBatchSize;
      faults.check(
          steps < 1,
          "--train-samples %d do not fill a --global-batch-size of %d: there is no step to take",
          trainSamples,
          globalBatchSize);
      faults.check(
          steps > Integer.MAX_VALUE,
          "--train-samples %d are %d steps with --global-batch-size %d, and a run has at most %d",
          trainSamples,
          steps,
          globalBatchSize,
          Integer.MAX_VALUE);
    }
    faults.notNegative("eval-iters", evalIters);
    faults.check(
        deterministicMode && attentionBackend.equals("fused"),
        "--attention-backend fused and --deterministic-mode exclude each other: cuDNN's attention"
            + " adds in no fixed order");
    faults.positive("eval-interval", evalInterval);
    faults.positive("exit-interval", exitInterval);
    faults.positive("exit-duration-in-mins", exitDurationInMins);
    faults.none(() -> Ranges.threads(numThreads));
    faults.refuse();
  }

  /** A builder whose values are the flags' defaults. */
  public static TrainingConfigBuilder builder() {
    return Builders.of(TrainingConfig.class, TrainingConfigBuilder.class);
  }

  /** A builder whose values are these, what followed from others among them. */
  public TrainingConfigBuilder toBuilder() {
    return Builders.from(this, TrainingConfigBuilder.class);
  }

  /** Whether the step is captured as CUDA graphs. */
  public boolean capturesGraphs() {
    return device.equals("cuda") && cudaGraph.equals("on");
  }

  /** Micro-batches a step, of all data-parallel processes together. */
  public int microBatches() {
    return globalBatchSize / microBatchSize;
  }

  /** The same with another number of samples a step. */
  public TrainingConfig withGlobalBatch(int samples) {
    return toBuilder().globalBatchSize(samples).build();
  }

  /** Steps to train for, by either flag. */
  public int steps() {
    return trainIters != null ? trainIters : (int) (trainSamples / globalBatchSize);
  }

  /**
   * Samples that the training data are asked for: {@code --train-samples} as they are, which
   * Megatron's order and cache files depend on, though a last part of them may fill no batch.
   */
  public long samples() {
    return trainSamples != null ? trainSamples : (long) trainIters * globalBatchSize;
  }

  /** Global batches drawn for validation over the whole run. */
  public long validationBatches() {
    return evalInterval == null ? evalIters : (steps() / evalInterval + 1L) * evalIters;
  }
}
