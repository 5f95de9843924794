package moe4j.training;

import java.util.List;
import java.util.Locale;
import java.util.function.LongSupplier;
import moe4j.console.ProgressLine;
import moe4j.console.Screen;
import moe4j.model.RunConfig;
import moe4j.model.TrainState;
import moe4j.record.IterationRecord;
import moe4j.training.step.TrainingListener;

/**
 * Shows a run's progress on a terminal: steps, and within a longer evaluation its sequences. The
 * loss is the one that the last log interval has read: a step asks the device nothing for it.
 */
final class ProgressListener implements TrainingListener, AutoCloseable {
  private final Screen screen;
  private final String title;
  private final int sequence;
  private final LongSupplier nanoTime;
  private final ProgressLine steps;
  private ProgressLine evaluation;

  ProgressListener(RunConfig config, Screen screen, LongSupplier nanoTime) {
    this.screen = screen;
    this.title = config.logging().runName() == null ? "" : config.logging().runName();
    this.sequence = config.model().sequenceLength();
    this.nanoTime = nanoTime;
    this.steps =
        new ProgressLine(
            screen,
            title,
            new ProgressLine.Count(
                "step",
                config.training().steps(),
                "tok",
                (double) config.training().globalBatchSize() * sequence),
            nanoTime);
  }

  /** The rate and the time left, as far as they are known. */
  List<String> rates() {
    return List.of(steps.rate(), steps.left().isEmpty() ? "" : steps.left() + " left");
  }

  @Override
  public void begin(TrainState state) {
    steps.done(state.iteration());
  }

  @Override
  public void step(int iteration) {
    steps.done(iteration);
  }

  @Override
  public void interval(Interval interval) {
    Double loss = interval.reading().losses().get(IterationRecord.LM_LOSS);
    if (loss != null) {
      steps.figure(String.format(Locale.ROOT, "loss %.4f", loss));
    }
  }

  @Override
  public void evaluating(EvaluationPart part, long done, long samples) {
    if (evaluation == null) {
      String name = part == EvaluationPart.TEST ? "test set" : "validation set";
      evaluation =
          new ProgressLine(
              screen,
              title,
              new ProgressLine.Count(name + " sequence", samples, "tok", sequence),
              nanoTime);
    }
    evaluation.done(done);
  }

  @Override
  public void validation(Validation validation) {
    evaluation = null;
    steps.goOn();
    steps.done(validation.state().iteration());
  }

  @Override
  public void saved(TrainState state, String directory) {
    steps.goOn();
  }

  @Override
  public void say(String sentence) {}

  @Override
  public void close() {
    screen.hide();
  }
}
