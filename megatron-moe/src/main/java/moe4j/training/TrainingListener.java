package moe4j.training;

import java.util.List;
import java.util.function.Consumer;

/** Is told what a run does: prints it, writes it down. */
public interface TrainingListener {

  /**
   * A stretch of steps.
   *
   * @param state where the run stands after it
   * @param reading the steps' sums
   * @param timed steps that {@code seconds} are the time of
   * @param seconds their time, without evaluations and checkpoints
   * @param learningRate the rate the next step will use
   * @param gradNorm of the last step, before clipping; null where it was skipped
   * @param paramsNorm of all parameters, or null where it was not asked for
   * @param zeros gradient elements of the last step that are zero, or null likewise
   */
  record Interval(
      TrainState state,
      StepMetrics.Reading reading,
      int timed,
      double seconds,
      double learningRate,
      Double gradNorm,
      Double paramsNorm,
      Long zeros) {}

  /**
   * A validation.
   *
   * @param part the data it is of
   * @param last whether it is the one at the end of the run
   * @param again whether the last step's validation loss is another's, which was taken in the
   *     course of training
   * @param loss the mean over all tokens that count
   */
  record Validation(
      TrainState state, EvaluationPart part, boolean last, boolean again, double loss) {}

  /** The data an evaluation is of. */
  enum EvaluationPart {
    VALIDATION,
    TEST
  }

  /** Before any listener is told what it may print: what stands on the console makes room. */
  default void beforeOutput() {}

  /** After some steps. */
  void interval(Interval interval);

  /** After an evaluation. */
  void validation(Validation validation);

  /** After a checkpoint. */
  void saved(TrainState state, String directory);

  /** Something the user should know, in a sentence. */
  void say(String sentence);

  /** Every listener in turn, each time after all of them have made room. */
  static TrainingListener all(List<TrainingListener> listeners) {
    return new TrainingListener() {
      private void tell(Consumer<TrainingListener> event) {
        beforeOutput();
        listeners.forEach(event);
      }

      @Override
      public void beforeOutput() {
        listeners.forEach(TrainingListener::beforeOutput);
      }

      @Override
      public void interval(Interval interval) {
        tell(l -> l.interval(interval));
      }

      @Override
      public void validation(Validation validation) {
        tell(l -> l.validation(validation));
      }

      @Override
      public void saved(TrainState state, String directory) {
        tell(l -> l.saved(state, directory));
      }

      @Override
      public void say(String sentence) {
        tell(l -> l.say(sentence));
      }
    };
  }
}
