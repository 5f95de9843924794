package moe4j.model.txl;

import moe4j.config.FlagsBuilder;

/**
 * Builds how a Transformer-XL is trained: a method for each component of {@link TrainingFlags},
 * which says what they are.
 */
public interface TrainingFlagsBuilder extends FlagsBuilder<TrainingFlags> {
  TrainingFlagsBuilder batchSize(int value);

  TrainingFlagsBuilder maxStep(int value);

  TrainingFlagsBuilder optim(String value);

  TrainingFlagsBuilder lr(double value);

  TrainingFlagsBuilder scheduler(String value);

  TrainingFlagsBuilder warmupStep(int value);

  TrainingFlagsBuilder etaMin(double value);

  TrainingFlagsBuilder clip(double value);

  TrainingFlagsBuilder seed(int value);

  TrainingFlagsBuilder evalTgtLen(int value);

  TrainingFlagsBuilder evalBatchSize(int value);

  TrainingFlagsBuilder maxEvalSteps(int value);

  TrainingFlagsBuilder evalInterval(int value);

  TrainingFlagsBuilder logInterval(int value);

  TrainingFlagsBuilder workDir(String value);

  TrainingFlagsBuilder restart(boolean value);

  TrainingFlagsBuilder restartDir(String value);

  TrainingFlagsBuilder overrideData(boolean value);

  TrainingFlagsBuilder saveInterval(Integer value);

  TrainingFlagsBuilder autoResume(boolean value);

  TrainingFlagsBuilder overwrite(boolean value);
}
