package moe4j.tests;

import moe4j.model.TrainState;
import moe4j.training.step.TrainingListener;

/** A listener that heeds nothing until a test overrides what it is after. */
class Watcher implements TrainingListener {
  @Override
  public void interval(Interval interval) {}

  @Override
  public void validation(Validation validation) {}

  @Override
  public void saved(TrainState state, String directory) {}

  @Override
  public void say(String sentence) {}
}
