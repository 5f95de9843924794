package moe4j.model.txl;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;

import java.io.IOException;
import moe4j.data.stream.SegmentDataset;
import moe4j.tensor.StepRandom;
import moe4j.tensor.Tensors;
import moe4j.training.step.BatchBuffers;
import moe4j.training.step.Evaluator;
import moe4j.transformer.Batch;
import moe4j.transformer.ParameterSet;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

/**
 * An evaluation against what upstream's own evaluate() computes in fp64: another number of targets,
 * a memory that is so much longer, the mean over all targets of the stream.
 */
public class GoldenEvaluationTest {
  private static final double TOLERANCE = 1e-5;

  private final Device cpu = new Device("cpu");

  private static SegmentDataset stream(Golden golden, int target) throws IOException {
    long[] symbols = Tensors.longs(golden.tensor("input.stream"));
    byte[] stream = new byte[symbols.length];
    for (int i = 0; i < stream.length; i++) {
      stream[i] = (byte) symbols[i];
    }
    return new SegmentDataset("valid", stream, golden.metadata("batch_size"), target, 0, 1);
  }

  private BatchBuffers buffers(TransformerXl model, int rows) {
    return new BatchBuffers(
        new BatchBuffers.Form(cpu, rows, model.lengths().queries(), true, false));
  }

  @Test
  public void asUpstream() throws IOException {
    try (PointerScope scope = new PointerScope();
        Golden weights = Golden.open("base");
        Golden golden = Golden.open("eval");
        ParameterSet parameters = new ParameterSet(1, ScalarType.Float, cpu)) {
      int rows = golden.metadata("batch_size");
      int target = golden.metadata("eval_tgt_len");
      TransformerXl trained = weights.model(rows, parameters);
      TransformerXlConfig.Lengths lengths = trained.lengths().evaluation(target);
      assertEquals(lengths, new TransformerXlConfig.Lengths(5, 0, 19, false, -1));
      TransformerXl model = trained.with(lengths, rows);
      SegmentDataset stream = stream(golden, target);
      double expected = Tensors.item(golden.tensor("output.loss"));
      try (BatchBuffers buffers = buffers(model, rows);
          Evaluator evaluator = new Evaluator(model, buffers)) {
        // Twice: nothing of the first is left in the second.
        for (int i = 0; i < 2; i++) {
          assertEquals(evaluator.loss(stream, 0, stream.size()), expected, TOLERANCE);
        }
        segments(golden, model, stream);
        // A training in between, and an evaluation that stops in the middle.
        trained.loss(Segments.batch(stream(golden, 12), 1), training(rows));
        evaluator.loss(stream, 0, 7L * rows);
        assertEquals(evaluator.loss(stream, 0, stream.size()), expected, TOLERANCE);
      }
      // The same without memory is another number: the test tells them apart.
      TransformerXl shortened =
          trained.with(new TransformerXlConfig.Lengths(target, 0, 0, false, -1), rows);
      try (BatchBuffers buffers = buffers(shortened, rows);
          Evaluator evaluator = new Evaluator(shortened, buffers)) {
        assertNotEquals(evaluator.loss(stream, 0, stream.size()), expected, 100 * TOLERANCE);
      }
    }
  }

  private static Pass training(int rows) {
    return Pass.training(new StepRandom(1, 0, 0, rows));
  }

  /** Each segment's mean by itself: a sum of errors cannot hide in the whole's. */
  private static void segments(Golden golden, TransformerXl model, SegmentDataset stream)
      throws IOException {
    float[] expected = Tensors.floats(golden.tensor("output.segments"));
    assertEquals(stream.segments(), expected.length);
    for (int n = 0; n < expected.length; n++) {
      Batch batch = Segments.batch(stream, n);
      Tensor mask = batch.lossMask();
      double sum = 0;
      for (float loss : Segments.losses(model, batch)) {
        sum += loss;
      }
      assertEquals(sum / Tensors.item(mask.sum()), expected[n], TOLERANCE, "segment " + n);
    }
  }

  /** All columns of a set, but only whole batches, and no more than is asked for. */
  @Test
  public void anEvaluationIsTheSetsOwnLength() throws IOException {
    try (Golden golden = Golden.open("eval")) {
      SegmentDataset stream = stream(golden, 5);
      // 602 symbols in 3 columns of 200: 199 targets are 39 segments of 5 and one of 4.
      assertEquals(stream.columnLength(), 200);
      assertEquals(stream.segments(), 40);
      assertEquals(stream.size(), 120);
    }
  }
}
