package moe4j.training.step;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;

import moe4j.model.LanguageModel;
import moe4j.tensor.Scopes;
import moe4j.training.Numbered;
import moe4j.transformer.Batch;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

public class EvaluatorTest {

  /** Its loss of a token is the token. */
  private static final class Echo implements LanguageModel {
    @Override
    public ParameterSet parameters() {
      throw new AssertionError("an evaluation asks for none");
    }

    @Override
    public Tensor loss(Batch batch, Pass pass) {
      assertFalse(pass.isTraining() || GradMode.is_enabled());
      return batch.tokens().to(ScalarType.Float);
    }
  }

  /** One evaluator serves a run's evaluations: nothing of one is in the next. */
  @Test
  public void eachEvaluationBeginsAnew() {
    long before = Scopes.livePointers();
    try (PointerScope scope = new PointerScope()) {
      BatchBuffers.Form form =
          new BatchBuffers.Form(new Device("cpu"), 2, Numbered.SEQUENCE, false, false);
      Numbered samples = new Numbered(100);
      try (BatchBuffers buffers = new BatchBuffers(form);
          Evaluator evaluator = new Evaluator(new Echo(), buffers)) {
        assertEquals(evaluator.loss(samples, 0, 10), 4.5);
        assertEquals(evaluator.loss(samples, 90, 4), 91.5);
        assertEquals(evaluator.loss(samples, 0, 10), 4.5);
        assertEquals(evaluator.loss(samples, 0, 100), 49.5);
      }
    }
    assertTrue(Scopes.livePointers() <= before, Scopes.livePointers() + " > " + before);
  }

  /** What fills no batch is evaluated in a smaller one: every sample weighs the same. */
  @Test
  public void everySampleCountsWhateverTheBatch() {
    try (PointerScope scope = new PointerScope()) {
      for (int rows : new int[] {1, 2, 3, 4, 11, 50}) {
        BatchBuffers.Form form =
            new BatchBuffers.Form(new Device("cpu"), rows, Numbered.SEQUENCE, true, true);
        try (BatchBuffers buffers = new BatchBuffers(form);
            Evaluator evaluator = new Evaluator(new Echo(), buffers)) {
          assertEquals(evaluator.loss(new Numbered(31), 20, 11), 25.0, rows + " rows");
          assertEquals(evaluator.loss(new Numbered(31), 0, 1), 0.0, rows + " rows");
        }
      }
    }
  }
}
