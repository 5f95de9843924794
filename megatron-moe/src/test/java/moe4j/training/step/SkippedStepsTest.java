package moe4j.training.step;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.testng.annotations.Test;

public class SkippedStepsTest {

  private static void set(Tensor foundInf, double value) {
    Scopes.run(() -> foundInf.fill_(new Scalar(value)));
  }

  /** An answer is of the step it was asked behind, whatever the next one does. */
  @Test
  public void answersComeInOrder() {
    long before = Scopes.livePointers();
    try (PointerScope scope = new PointerScope()) {
      Tensor foundInf = Tensors.of(new float[1]).select(0, 0);
      try (SkippedSteps skips = new SkippedSteps(foundInf)) {
        assertEquals(skips.lag(), 0, "a CPU has the answer at hand");
        for (int round = 0; round < 2; round++) {
          double[] answers = {0, 1, 1, 0};
          for (int i = 0; i < answers.length; i++) {
            set(foundInf, answers[i]);
            skips.ask();
            assertEquals(skips.pending(), i + 1);
          }
          for (double answer : answers) {
            assertEquals(skips.take(), answer != 0);
          }
          assertEquals(skips.pending(), 0);
        }
      }
    }
    assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
  }

  /** With an answer taken late, memory is used in turn. */
  @Test
  public void oneIsAlwaysUnderWay() {
    try (PointerScope scope = new PointerScope()) {
      Tensor foundInf = Tensors.of(new float[1]).select(0, 0);
      try (SkippedSteps skips = new SkippedSteps(foundInf)) {
        skips.ask();
        for (int step = 1; step < 20; step++) {
          set(foundInf, step % 3 == 0 ? 1 : 0);
          skips.ask();
          assertEquals(skips.take(), step > 1 && (step - 1) % 3 == 0, "step " + step);
        }
        assertEquals(skips.pending(), 1);
      }
      assertFalse(foundInf.isNull());
    }
  }
}
