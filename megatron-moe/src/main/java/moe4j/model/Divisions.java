package moe4j.model;

import moe4j.config.TrainingConfig;
import moe4j.model.gpt.GptConfig;
import moe4j.moe.MoeConfig;
import moe4j.parallel.ParallelConfig;

/** Whether a model and its batches can be divided among processes as the flags ask. */
public final class Divisions {
  private Divisions() {}

  /**
   * Checks what does not depend on how many processes there are.
   *
   * @throws IllegalArgumentException with the arithmetic, in one sentence
   */
  static void check(
      GptConfig model, MoeConfig moe, TrainingConfig training, ParallelConfig parallel) {
    int tensor = parallel.tensorModelParallelSize();
    String by = "--tensor-model-parallel-size";
    divides("--num-attention-heads", model.numAttentionHeads(), by, tensor);
    if (model.groupQueryAttention()) {
      divides("--num-query-groups", model.numQueryGroups(), by, tensor);
    }
    boolean experts = moe.moeLayerCount(model.numLayers()) > 0;
    if (moe.moeLayerCount(model.numLayers()) < model.numLayers()) {
      divides("--ffn-hidden-size", model.ffnHiddenSize(), by, tensor);
    }
    if (parallel.sequenceParallel() || experts) {
      divides("--seq-length", model.seqLength(), by, tensor);
    }
    if (!experts) {
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
        moe.expertHiddenSize(model.layerShape()),
        "--expert-tensor-parallel-size",
        parallel.expertTensorParallelSize());
    if (moe.moeSharedExpertIntermediateSize() != null) {
      divides(
          "--moe-shared-expert-intermediate-size",
          moe.moeSharedExpertIntermediateSize(),
          by,
          tensor);
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

  /** Checks the padded vocabulary, which the tokenizer decides. */
  public static void checkVocabulary(int padded, GptConfig model, ParallelConfig parallel) {
    int tensor = parallel.tensorModelParallelSize();
    if (padded % tensor != 0) {
      throw new IllegalArgumentException(
          ("the padded vocabulary of %d cannot be cut into --tensor-model-parallel-size %d parts:"
                  + " --make-vocab-size-divisible-by %d would do")
              .formatted(padded, tensor, model.makeVocabSizeDivisibleBy() * tensor));
    }
  }

  private static void divides(String what, int value, String by, int parts) {
    if (value % parts != 0) {
      throw new IllegalArgumentException(
          "%s %d is no multiple of %s %d: %d = %d x %d + %d"
              .formatted(what, value, by, parts, value, value / parts, parts, value % parts));
    }
  }
}
