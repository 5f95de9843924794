package moe4j.model.txl;

import moe4j.data.GptBatch;
import moe4j.data.stream.SegmentDataset;
import moe4j.tensor.Tensors;
import moe4j.transformer.Batch;
import moe4j.transformer.Pass;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** Batches of a stream without a loop around them. */
final class Segments {
  private Segments() {}

  /** The n-th batch, counted through the epochs. */
  static Batch batch(SegmentDataset data, int n) {
    int rows = data.columns();
    GptBatch samples = GptBatch.allocate(rows, data.seqLength());
    for (int r = 0; r < rows; r++) {
      data.read((long) n * rows + r, samples, r);
    }
    long[] shape = {rows, data.seqLength()};
    return new Batch(
        Tensors.of(samples.tokens(), shape),
        Tensors.of(samples.labels(), shape),
        Tensors.of(samples.lossMask(), shape),
        longs(samples.positionIds(), shape),
        null);
  }

  private static Tensor longs(int[] values, long... shape) {
    long[] wide = new long[values.length];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = values[i];
    }
    return Tensors.of(wide, shape);
  }

  /** The losses of a batch, 0 where the mask is: as an evaluation has them, the memory goes on. */
  static float[] losses(TransformerXl model, Batch batch) {
    try (PointerScope scope = new PointerScope();
        NoGradGuard guard = new NoGradGuard()) {
      Tensor losses = model.loss(batch, Pass.evaluation());
      Tensor none = batch.lossMask().eq(new Scalar(0));
      return Tensors.floats(losses.masked_fill(none, new Scalar(0)));
    }
  }
}
