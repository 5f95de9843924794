package moe4j.training;

import moe4j.training.record.IterationRecord;
import moe4j.training.record.ProgressLine;

/**
 * Shows a run's progress on one line of the console. It stands behind the listeners that print:
 * before they do the line is taken away, and afterwards it is put below.
 */
public final class ProgressListener implements TrainingListener {
  private final RunConfig config;
  private final ProgressLine line;

  /** Shows a run's progress on a line, which the caller closes. */
  public ProgressListener(RunConfig config, ProgressLine line) {
    this.config = config;
    this.line = line;
  }

  @Override
  public void beforeOutput() {
    line.clear();
  }

  @Override
  public void interval(Interval interval) {
    double tokens =
        (double) interval.timed()
            * config.training().globalBatchSize()
            * config.model().seqLength();
    line.update(
        interval.state().iteration(),
        config.training().steps(),
        interval.reading().losses().getOrDefault(IterationRecord.LM_LOSS, Double.NaN),
        tokens / interval.seconds());
  }

  @Override
  public void validation(Validation validation) {
    line.redraw();
  }

  @Override
  public void saved(TrainState state, String directory) {
    line.redraw();
  }

  @Override
  public void say(String sentence) {
    line.redraw();
  }
}
