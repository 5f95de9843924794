package moe4j.model;

import static org.testng.Assert.assertEquals;

import org.testng.annotations.Test;

public class TrainStateTest {
  /** A skip that is learnt of late leaves the state that it would have left at once. */
  @Test
  public void skippedSamplesCountForTheDataAndNotForTheSchedule() {
    TrainState taken = TrainState.start().step(8).step(8);
    assertEquals(taken, new TrainState(2, 16, 0, 0));
    assertEquals(taken.scheduledSamples(), 16);
    TrainState skipped = taken.skipped(8);
    assertEquals(skipped, new TrainState(2, 16, 0, 8));
    assertEquals(skipped.scheduledSamples(), 8);
    assertEquals(skipped.step(8), taken.step(8).skipped(8));
    assertEquals(skipped.validated(32), new TrainState(2, 16, 32, 8));
  }
}
