package moe4j.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import moe4j.config.CheckpointConfig;
import moe4j.config.Faults;
import moe4j.config.Flags;
import moe4j.config.LoggingConfig;
import moe4j.config.TrainingConfig;
import moe4j.moe.MoeConfig;
import moe4j.optimizer.LearningRate;
import moe4j.optimizer.OptimizerConfig;
import moe4j.parallel.ParallelConfig;

/**
 * A pretraining run: all its flags, checked against each other before anything is allocated,
 * printed at its start and saved with its checkpoints ({@link RunJson}).
 *
 * @param model what is trained
 * @param data the family's {@link ModelFamily#dataFlags record}
 * @param more flags that only a family's command has and that the other records are made of, or
 *     null: a record of records, which checkpoints keep by their components' names
 */
public record RunConfig(
    ModelSpec model,
    OptimizerConfig optimizer,
    TrainingConfig training,
    Record data,
    CheckpointConfig checkpoint,
    LoggingConfig logging,
    ParallelConfig parallel,
    Record more) {

  /** Checks what no record can check by itself. */
  public RunConfig {
    Faults faults = new Faults();
    ModelFamily family = model.family();
    if (!family.dataFlags().isInstance(data)) {
      throw new IllegalArgumentException(
          "data of %s cannot be a %s's, which are told by %s"
              .formatted(
                  data == null ? "no record" : "the class " + data.getClass().getName(),
                  family.title(),
                  family.dataFlags().getName()));
    }
    faults.none(() -> family.check(model));
    faults.none(() -> check(optimizer, training));
    faults.none(() -> family.checkDivision(model, training, parallel));
    faults.refuse();
  }

  /** Checks what is no matter of the model. */
  static void check(OptimizerConfig optimizer, TrainingConfig training) {
    Faults faults = new Faults();
    faults.none(() -> schedule(optimizer, training).at(0));
    boolean gpu = training.device().equals("cuda");
    faults.none(() -> optimizer.checkTypes(training.bf16(), gpu && training.noFusedKernels()));
    faults.refuse();
  }

  /** A run whose flags are those of the records alone. */
  public RunConfig(
      ModelSpec model,
      OptimizerConfig optimizer,
      TrainingConfig training,
      Record data,
      CheckpointConfig checkpoint,
      LoggingConfig logging,
      ParallelConfig parallel) {
    this(model, optimizer, training, data, checkpoint, logging, parallel, null);
  }

  /**
   * A builder of a run.
   *
   * @param data the family's {@link ModelFamily#dataFlags record}
   */
  public static RunConfigBuilder builder(
      ModelSpec model, TrainingConfig training, OptimizerConfig optimizer, Record data) {
    return new RunConfigBuilder(model, training, optimizer, data);
  }

  /** The kind of model. */
  public ModelFamily family() {
    return model.family();
  }

  /** The experts. */
  public MoeConfig moe() {
    return model.moe();
  }

  /** The data's flags as the family's record. */
  public <R extends Record> R data(Class<R> type) {
    return type.cast(data);
  }

  /** The same run, with CUDA graphs {@code on} or {@code off}. */
  public RunConfig withCudaGraph(String onOrOff) {
    TrainingConfig other = training.toBuilder().cudaGraph(onOrOff).build();
    return new RunConfig(model, optimizer, other, data, checkpoint, logging, parallel, more);
  }

  /** The same run, with another optimizer and schedule. */
  public RunConfig withOptimizer(OptimizerConfig other) {
    return new RunConfig(model, other, training, data, checkpoint, logging, parallel, more);
  }

  /** The same run, kept elsewhere or nowhere. */
  public RunConfig withCheckpoint(CheckpointConfig other) {
    return new RunConfig(model, optimizer, training, data, other, logging, parallel, more);
  }

  private static LearningRate schedule(OptimizerConfig optimizer, TrainingConfig training) {
    return new LearningRate(
        optimizer, training.globalBatchSize(), training.trainIters(), training.trainSamples());
  }

  /** The run's learning-rate schedule. */
  public LearningRate schedule() {
    return schedule(optimizer, training);
  }

  private List<Record> parts() {
    return List.of(
        model.flags(), model.moe(), optimizer, training, data, checkpoint, logging, parallel);
  }

  /** Every argument by Megatron's name, sorted, defaults filled in. */
  public Map<String, Object> arguments() {
    Map<String, Object> all = new TreeMap<>();
    parts().forEach(part -> all.putAll(Flags.arguments(part)));
    return all;
  }

  /** Those of them that differ from their flags' defaults. */
  public Map<String, Object> differing() {
    Map<String, Object> all = new TreeMap<>();
    parts().forEach(part -> all.putAll(Flags.differing(part)));
    return all;
  }

  /** The flags that would give this run again. */
  public List<String> commandLine() {
    return parts().stream().flatMap(part -> Flags.commandLine(part).stream()).toList();
  }

  /** As checkpoints keep it. */
  public ObjectNode toJson() {
    return RunJson.of(this);
  }
}
