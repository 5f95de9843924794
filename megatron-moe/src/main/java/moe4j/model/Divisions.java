package moe4j.model;

import java.util.List;
import moe4j.config.Flags;
import moe4j.config.Ranges;
import moe4j.config.TrainingConfig;
import moe4j.cost.Divisible;
import moe4j.cost.Placement;
import moe4j.parallel.ParallelConfig;

/** Whether models and batches can be divided among processes as the flags ask. */
public final class Divisions {
  private Divisions() {}

  /**
   * Checks sizes of a model, as far as they do not depend on the tokenizer.
   *
   * @param sizes what has to be a multiple of what
   * @throws IllegalArgumentException with the arithmetic, in one sentence
   */
  public static void check(List<Divisible> sizes, ParallelConfig parallel) {
    Placement placement =
        new Placement(
            1,
            1,
            parallel.tensorModelParallelSize(),
            parallel.sequenceParallel(),
            parallel.expertModelParallelSize(),
            parallel.expertTensorParallelSize(),
            1);
    for (Divisible size : sizes) {
      if (size.by() == Divisible.By.VOCABULARY) {
        continue;
      }
      int parts = size.by().ranks(placement);
      int value = size.value();
      if (value % parts != 0) {
        throw new IllegalArgumentException(
            size.refusal(placement).orElseThrow() + Ranges.division(value, parts));
      }
    }
  }

  /**
   * Checks flags of experts' layouts that say nothing of sizes.
   *
   * @throws IllegalArgumentException in one sentence
   */
  public static void checkExperts(ModelSpec model, ParallelConfig parallel) {
    if (model.moeLayers() == 0 && parallel.expertModelParallelSize() > 1) {
      throw new IllegalArgumentException(
          "--expert-model-parallel-size %d needs --num-experts"
              .formatted(parallel.expertModelParallelSize()));
    }
    if (model.moeLayers() > 0
        && model.moe().addExpertBias()
        && parallel.expertTensorParallelSize() > 1) {
      throw new IllegalArgumentException(
          "--add-expert-bias needs --expert-tensor-parallel-size 1, not %d: a bias is added once"
              .formatted(parallel.expertTensorParallelSize()));
    }
  }

  /**
   * The training of so many processes by its flags: a global batch that none names is filled in.
   */
  static TrainingConfig batch(Flags.Parsed parsed, int processes) {
    TrainingConfig training = parsed.get(TrainingConfig.class);
    int data = parsed.get(ParallelConfig.class).layout(processes).data();
    if (!parsed.isTyped("global-batch-size")) {
      training = training.withGlobalBatch(training.microBatchSize() * data);
    }
    checkBatch(training, data);
    return training;
  }

  /** Checks that a step's samples are whole micro-batches for each data-parallel process. */
  public static void checkBatch(TrainingConfig training, int data) {
    long block = (long) training.microBatchSize() * data;
    long batch = training.globalBatchSize();
    if (batch % block != 0) {
      throw new IllegalArgumentException(
          "--global-batch-size %d is no multiple of --micro-batch-size %d times the %d data-parallel processes%s"
              .formatted(batch, training.microBatchSize(), data, Ranges.division(batch, block)));
    }
  }
}
