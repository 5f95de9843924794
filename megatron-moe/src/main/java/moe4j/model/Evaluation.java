package moe4j.model;

import java.util.List;
import moe4j.data.SampleDataset;

/** A trained model, the data that its loss is taken on, and what is said of it. */
public interface Evaluation extends AutoCloseable {

  /**
   * Samples that a loss is taken on.
   *
   * @param name what they are called beside their progress; empty for nothing
   * @param data the dataset, whose first samples they are
   * @param samples how many
   * @param rows samples at a time
   * @param sequence tokens a sample that the model reads
   * @param targets those of them that the loss is of
   * @param positions whether the model reads positions that differ from 0, 1, 2 ...
   * @param documents whether it reads which document a token is of
   */
  record Samples(
      String name,
      SampleDataset data,
      long samples,
      int rows,
      int sequence,
      int targets,
      boolean positions,
      boolean documents) {}

  /** The model. */
  LanguageModel model();

  /** What it is evaluated on, one after the other. */
  List<Samples> parts();

  /** What is said before: a line each. */
  default List<String> begin() {
    return List.of();
  }

  /** What is said when a part is done. */
  default List<String> done(Samples part, double seconds) {
    return List.of();
  }

  /**
   * What is said in the end.
   *
   * @param losses the mean of each part's tokens, in nats
   */
  List<String> end(List<Double> losses);

  @Override
  void close();
}
