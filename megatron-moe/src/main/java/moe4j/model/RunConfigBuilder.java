package moe4j.model;

import java.util.List;
import moe4j.config.Builders;
import moe4j.config.CheckpointConfig;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.ParallelConfig;

/**
 * Puts a run together for a Java caller. What is not said is as without flags: nothing is saved or
 * loaded, the log is the usual one, and one process runs it.
 */
public final class RunConfigBuilder {
  private final ModelSpec model;
  private final TrainingConfig training;
  private final OptimizerConfig optimizer;
  private final Record data;
  private CheckpointConfig checkpoint = CheckpointConfig.builder().build();
  private LoggingConfig logging = LoggingConfig.builder().build();
  private ParallelConfig parallel = ParallelConfig.single();

  RunConfigBuilder(
      ModelSpec model, TrainingConfig training, OptimizerConfig optimizer, Record data) {
    this.model = model;
    this.training = training;
    this.optimizer = optimizer;
    this.data = data;
  }

  /** What is saved and loaded. */
  public RunConfigBuilder checkpoint(CheckpointConfig checkpoint) {
    this.checkpoint = checkpoint;
    return this;
  }

  /** What is recorded. */
  public RunConfigBuilder logging(LoggingConfig logging) {
    this.logging = logging;
    return this;
  }

  /** How the run is divided among processes. */
  public RunConfigBuilder parallel(ParallelConfig parallel) {
    this.parallel = parallel;
    return this;
  }

  /**
   * The run.
   *
   * @throws IllegalArgumentException for what a command line would be refused for too, in a
   *     sentence for each fault
   */
  public RunConfig build() {
    Builders.checkTogether(
        List.of(
            model.flags(), model.moe(), optimizer, training, data, checkpoint, logging, parallel));
    return new RunConfig(model, optimizer, training, data, checkpoint, logging, parallel);
  }
}
