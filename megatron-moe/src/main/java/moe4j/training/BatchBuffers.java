package moe4j.training;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import moe4j.data.GptBatch;
import moe4j.kernels.Scopes;
import moe4j.kernels.Tensors;
import moe4j.transformer.Batch;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The one micro-batch on the device, filled again and again: its addresses never change, which a
 * captured graph relies on.
 */
public final class BatchBuffers implements AutoCloseable {
  private final List<Tensor> owned = new ArrayList<>();
  private final Batch batch;

  /**
   * Buffers of a shape.
   *
   * @param positions whether positions differ from 0 to S - 1
   * @param documents whether attention stays within documents
   */
  public BatchBuffers(Device device, int rows, int sequence, boolean positions, boolean documents) {
    Supplier<Tensor> longs = () -> Tensors.zeros(ScalarType.Long, device, rows, sequence);
    this.batch =
        new Batch(
            own(longs),
            own(longs),
            own(() -> Tensors.zeros(ScalarType.Float, device, rows, sequence)),
            positions ? own(longs) : null,
            documents ? own(longs) : null);
  }

  private Tensor own(Supplier<Tensor> made) {
    Tensor tensor = Scopes.keep(made);
    owned.add(tensor);
    return tensor;
  }

  /** The micro-batch, as last loaded. */
  public Batch batch() {
    return batch;
  }

  /** Copies a micro-batch from the host. */
  public void load(GptBatch host) {
    Scopes.run(
        () -> {
          copy(host.tokens(), batch.tokens());
          copy(host.labels(), batch.labels());
          new FloatPointer(batch.lossMask().data_ptr()).put(host.lossMask());
          if (batch.positions() != null) {
            copy(widen(host.positionIds()), batch.positions());
          }
          if (batch.documents() != null) {
            copy(widen(host.documentIds()), batch.documents());
          }
        });
  }

  private static void copy(long[] from, Tensor to) {
    new LongPointer(to.data_ptr()).put(from);
  }

  private static long[] widen(int[] values) {
    long[] wide = new long[values.length];
    for (int i = 0; i < values.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  @Override
  public void close() {
    owned.forEach(Tensor::close);
  }
}
