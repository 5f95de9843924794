package moe4j.config;

/**
 * Builds what is saved and loaded: a method for each component of {@link CheckpointConfig}, which
 * says what they are.
 */
public interface CheckpointConfigBuilder extends FlagsBuilder<CheckpointConfig> {
  CheckpointConfigBuilder save(String value);

  CheckpointConfigBuilder load(String value);

  CheckpointConfigBuilder saveInterval(Integer value);

  CheckpointConfigBuilder mostRecentK(int value);

  CheckpointConfigBuilder keepBest(boolean value);

  CheckpointConfigBuilder noSaveOptim(boolean value);

  CheckpointConfigBuilder noLoadOptim(boolean value);

  CheckpointConfigBuilder finetune(boolean value);

  CheckpointConfigBuilder exitOnMissingCheckpoint(boolean value);

  CheckpointConfigBuilder autoResume(boolean value);

  CheckpointConfigBuilder overrideData(boolean value);

  CheckpointConfigBuilder useCheckpointOptParamScheduler(boolean value);

  CheckpointConfigBuilder overwrite(boolean value);
}
