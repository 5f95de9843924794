package moe4j.model;

import moe4j.config.TrainingConfig;
import moe4j.data.SampleDataset;

/**
 * The data of a run; a part that the run does without is null.
 *
 * @param train what is trained on
 * @param valid what is evaluated on at intervals
 * @param test what is evaluated on at the end
 */
public record Datasets(SampleDataset train, SampleDataset valid, SampleDataset test) {

  /**
   * Checks that a run can be taken to its end.
   *
   * @param wholeSets how it is evaluated on whole sets, or null
   * @throws IllegalArgumentException in one sentence, where the samples do not last
   */
  public void check(RunConfig config, WholeSets wholeSets, TrainState from) {
    TrainingConfig training = config.training();
    long batch = training.globalBatchSize();
    String flag =
        training.trainIters() != null
            ? "--train-iters " + training.trainIters()
            : "--train-samples " + training.trainSamples();
    if (from.iteration() < training.steps()) {
      long more = (training.steps() - from.iteration()) * batch;
      check("training", flag, train, from.consumedTrainSamples(), more);
    }
    if (wholeSets != null) {
      return;
    }
    String evaluations = "--eval-iters " + training.evalIters();
    long evaluation = training.evalIters() * batch;
    long more = from.validationSamplesLeft(training);
    check("validation", evaluations, valid, from.consumedValidSamples(), more);
    check("test", evaluations, test, 0, evaluation);
  }

  private static void check(
      String what, String flag, SampleDataset dataset, long consumed, long more) {
    if (dataset != null && consumed + more > dataset.size()) {
      throw new IllegalArgumentException(
          "%s takes %d %s samples after the %d already consumed, but the data give %d"
              .formatted(flag, more, what, consumed, dataset.size()));
    }
  }
}
