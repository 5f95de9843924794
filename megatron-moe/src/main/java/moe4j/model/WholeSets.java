package moe4j.model;

import moe4j.data.SampleDataset;

/**
 * Evaluations that go through a data set from its start to its end, in batches of another form than
 * the training's, in place of some batches more at each evaluation.
 *
 * @param model what is evaluated, which shares its parameters with what is trained
 * @param rows samples a batch on this rank
 * @param sequence tokens a sample
 * @param mostBatches batches at most, 0 for all
 */
public record WholeSets(LanguageModel model, int rows, int sequence, long mostBatches) {

  /** Samples of an evaluation of a set, by so many ranks that take turns. */
  public long samples(SampleDataset dataset, int ranks) {
    long batch = (long) rows * ranks;
    long all = dataset.size() / batch * batch;
    return mostBatches == 0 ? all : Math.min(all, mostBatches * batch);
  }
}
