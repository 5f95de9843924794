package moe4j.data;

import java.util.OptionalLong;

/**
 * How many samples each part must have at least; empty for what one epoch gives.
 *
 * @param train for the whole run
 * @param valid for all evaluations of the run together: each takes new samples
 * @param test for the one at the end
 */
public record SampleCounts(OptionalLong train, OptionalLong valid, OptionalLong test) {
  /**
   * What a run takes, as Megatron counts it.
   *
   * @param trainSamples iterations times the global batch, or {@code --train-samples}
   * @param trainIters iterations of the run
   * @param evalInterval iterations between evaluations
   * @param evalIters global batches an evaluation takes
   * @param evalGlobalBatch samples of each
   */
  public static SampleCounts ofRun(
      long trainSamples, long trainIters, long evalInterval, long evalIters, long evalGlobalBatch) {
    long evaluations = trainIters / evalInterval + 1;
    return new SampleCounts(
        OptionalLong.of(trainSamples),
        OptionalLong.of(evaluations * evalIters * evalGlobalBatch),
        OptionalLong.of(evalIters * evalGlobalBatch));
  }

  /** The count of one part. */
  public OptionalLong of(Part part) {
    return switch (part) {
      case TRAIN -> train;
      case VALID -> valid;
      case TEST -> test;
    };
  }
}
