package moe4j.model;

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
}
