package moe4j.model;

import moe4j.config.TrainingConfig;
import moe4j.moe.MoeConfig;
import moe4j.parallel.ParallelConfig;

/** Whether experts and batches can be divided among processes as the flags ask. */
public final class Divisions {
  private Divisions() {}

  /**
   * Checks experts, as far as that does not depend on how many processes there are.
   *
   * @param expertHiddenSize of each
   * @throws IllegalArgumentException with the arithmetic, in one sentence
   */
  public static void checkExperts(ModelSpec model, int expertHiddenSize, ParallelConfig parallel) {
    MoeConfig moe = model.moe();
    if (model.moeLayers() == 0) {
      if (parallel.expertModelParallelSize() > 1) {
        throw new IllegalArgumentException(
            "--expert-model-parallel-size %d needs --num-experts"
                .formatted(parallel.expertModelParallelSize()));
      }
      return;
    }
    divides(
        "--num-experts",
        moe.numExperts(),
        "--expert-model-parallel-size",
        parallel.expertModelParallelSize());
    divides(
        "an expert's hidden size of",
        expertHiddenSize,
        "--expert-tensor-parallel-size",
        parallel.expertTensorParallelSize());
    if (moe.moeSharedExpertIntermediateSize() != null) {
      divides(
          "--moe-shared-expert-intermediate-size",
          moe.moeSharedExpertIntermediateSize(),
          "--tensor-model-parallel-size",
          parallel.tensorModelParallelSize());
    }
    if (moe.addExpertBias() && parallel.expertTensorParallelSize() > 1) {
      throw new IllegalArgumentException(
          "--add-expert-bias needs --expert-tensor-parallel-size 1, not %d: a bias is added once"
              .formatted(parallel.expertTensorParallelSize()));
    }
  }

  /** Checks that a step's samples are whole micro-batches for each data-parallel process. */
  public static void checkBatch(TrainingConfig training, int data) {
    long block = (long) training.microBatchSize() * data;
    long batch = training.globalBatchSize();
    if (batch % block != 0) {
      throw new IllegalArgumentException(
          ("--global-batch-size %d is no multiple of --micro-batch-size %d times the %d data-parallel"
                  + " processes: %d = %d x %d + %d")
              .formatted(
                  batch,
                  training.microBatchSize(),
                  data,
                  batch,
                  batch / block,
                  block,
                  batch % block));
    }
  }

  /**
   * Checks that a size is a multiple of the parts it is cut into.
   *
   * @param what the flag or what else the size is called
   * @param by the flag that gives the parts
   */
  public static void divides(String what, int value, String by, int parts) {
    if (value % parts != 0) {
      throw new IllegalArgumentException(
          "%s %d is no multiple of %s %d: %d = %d x %d + %d"
              .formatted(what, value, by, parts, value, value / parts, parts, value % parts));
    }
  }
}
