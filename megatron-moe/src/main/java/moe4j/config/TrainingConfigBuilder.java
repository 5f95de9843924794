package moe4j.config;

/**
 * Builds how long, in what pieces and on what a model is trained: a method for each component of
 * {@link TrainingConfig}, which says what they are.
 */
public interface TrainingConfigBuilder extends FlagsBuilder<TrainingConfig> {
  TrainingConfigBuilder microBatchSize(int value);

  TrainingConfigBuilder globalBatchSize(Integer value);

  TrainingConfigBuilder trainIters(Integer value);

  TrainingConfigBuilder trainSamples(Long value);

  TrainingConfigBuilder seed(int value);

  TrainingConfigBuilder bf16(boolean value);

  TrainingConfigBuilder evalIters(int value);

  TrainingConfigBuilder evalInterval(Integer value);

  TrainingConfigBuilder exitInterval(Integer value);

  TrainingConfigBuilder exitDurationInMins(Integer value);

  TrainingConfigBuilder noCheckForNanInLossAndGrad(boolean value);

  TrainingConfigBuilder device(String value);

  TrainingConfigBuilder cudaGraph(String value);

  TrainingConfigBuilder attentionBackend(String value);

  TrainingConfigBuilder deterministicMode(boolean value);

  TrainingConfigBuilder noFusedKernels(boolean value);

  TrainingConfigBuilder numThreads(Integer value);
}
