package moe4j.model;

import moe4j.config.TrainingConfig;

/**
 * Where a run stands. With the seed, this is all that random numbers and data order depend on.
 *
 * @param iteration steps taken, skipped ones included
 * @param consumedTrainSamples where the training data continues
 * @param consumedValidSamples where the validation data continues
 * @param skippedSamples samples of steps that were skipped; the learning rate does not count them
 * @param evaluationDue whether the evaluation behind the last step was left, so that a run that
 *     goes on from here begins with it
 */
public record TrainState(
    int iteration,
    long consumedTrainSamples,
    long consumedValidSamples,
    long skippedSamples,
    boolean evaluationDue) {

  /** The same with no evaluation due. */
  public TrainState(
      int iteration, long consumedTrainSamples, long consumedValidSamples, long skippedSamples) {
    this(iteration, consumedTrainSamples, consumedValidSamples, skippedSamples, false);
  }

  /** The beginning. */
  public static TrainState start() {
    return new TrainState(0, 0, 0, 0);
  }

  /** After one more step, which was taken as far as is known. */
  public TrainState step(int samples) {
    return new TrainState(
        iteration + 1, consumedTrainSamples + samples, consumedValidSamples, skippedSamples);
  }

  /** The same where it is known that one of the steps so far was skipped. */
  public TrainState skipped(int samples) {
    return new TrainState(
        iteration,
        consumedTrainSamples,
        consumedValidSamples,
        skippedSamples + samples,
        evaluationDue);
  }

  /** The same where the evaluation that is due now is left for later, or is no longer due. */
  public TrainState evaluationDue(boolean due) {
    return new TrainState(
        iteration, consumedTrainSamples, consumedValidSamples, skippedSamples, due);
  }

  /** After an evaluation. */
  public TrainState validated(long samples) {
    return new TrainState(
        iteration, consumedTrainSamples, consumedValidSamples + samples, skippedSamples);
  }

  /** Samples the learning-rate schedule has seen. */
  public long scheduledSamples() {
    return consumedTrainSamples - skippedSamples;
  }

  /**
   * Samples that the training data are asked for by a run that goes on from here: what it has
   * consumed counts, whatever flags asked for it.
   */
  public long trainSamples(TrainingConfig training) {
    long more = Math.max(0L, training.steps() - iteration) * training.globalBatchSize();
    return Math.max(training.samples(), consumedTrainSamples + more);
  }

  /** Samples that the validation data are asked for, likewise. */
  public long validationSamples(TrainingConfig training) {
    return Math.max(
        training.validationBatches() * training.globalBatchSize(),
        consumedValidSamples + validationSamplesLeft(training));
  }

  /** Validation samples that are still to be consumed. */
  public long validationSamplesLeft(TrainingConfig training) {
    long evaluations = evaluationsLeft(training) + (evaluationDue ? 1 : 0);
    return evaluations * training.evalIters() * training.globalBatchSize();
  }

  /** Evaluations that are still to come, the one at the end among them. */
  public long evaluationsLeft(TrainingConfig training) {
    Integer interval = training.evalInterval();
    return interval == null
        ? 1
        : Math.max(0, training.steps() / interval - iteration / interval) + 1L;
  }
}
