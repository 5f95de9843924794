package moe4j.training.step;

import java.util.List;
import java.util.function.Consumer;
import moe4j.model.TrainState;

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

  /** Before the first step of this process. */
  default void begin(TrainState state) {}

  /**
   * After a step, on the host: the device may still be at it, and is not to be asked anything here.
   */
  default void step(int iteration) {}

  /** In the course of an evaluation: so many of its samples are taken. */
  default void evaluating(EvaluationPart part, long done, long samples) {}

  /** After some steps. */
  void interval(Interval interval);

  /** After an evaluation. */
  void validation(Validation validation);

  /** After a checkpoint. */
  void saved(TrainState state, String directory);

  /** Something the user should know, in a sentence. */
  void say(String sentence);

  /** Every listener in turn. */
  static TrainingListener all(List<TrainingListener> listeners) {
    return new TrainingListener() {
      private void tell(Consumer<TrainingListener> event) {
        listeners.forEach(event);
      }

      @Override
      public void begin(TrainState state) {
        tell(l -> l.begin(state));
      }

      @Override
      public void step(int iteration) {
        tell(l -> l.step(iteration));
      }

      @Override
      public void evaluating(EvaluationPart part, long done, long samples) {
        tell(l -> l.evaluating(part, done, samples));
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
