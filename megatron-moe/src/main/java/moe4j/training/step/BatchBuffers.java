package moe4j.training.step;

import java.util.ArrayList;
import java.util.List;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import moe4j.transformer.Batch;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The one micro-batch on the device, filled again and again: its addresses never change, which a
 * captured graph relies on.
 */
public final class BatchBuffers implements AutoCloseable {

  /**
   * What a batch consists of.
   *
   * @param positions whether positions differ from 0 to S - 1
   * @param documents whether attention stays within documents
   */
  public record Form(Device device, int rows, int sequence, boolean positions, boolean documents) {
    /** The same of another number of samples. */
    Form withRows(int other) {
      return new Form(device, other, sequence, positions, documents);
    }
  }

  private final Form form;
  private final List<Tensor> owned = new ArrayList<>();
  private final Batch batch;

  /** Buffers of a form. */
  public BatchBuffers(Form form) {
    this.form = form;
    this.batch =
        new Batch(
            own(ScalarType.Long),
            own(ScalarType.Long),
            own(ScalarType.Float),
            form.positions() ? own(ScalarType.Long) : null,
            form.documents() ? own(ScalarType.Long) : null);
  }

  private Tensor own(ScalarType dtype) {
    Tensor tensor =
        Scopes.keep(() -> Tensors.zeros(dtype, form.device(), form.rows(), form.sequence()));
    owned.add(tensor);
    return tensor;
  }

  /** The tensors of the batch. */
  public Form form() {
    return form;
  }

  /** The micro-batch, as last loaded. */
  public Batch batch() {
    return batch;
  }

  /** Copies a micro-batch from the host, without waiting for it. */
  void load(HostBatch host) {
    Scopes.run(() -> host.copyTo(batch));
  }

  @Override
  public void close() {
    owned.forEach(Tensor::close);
  }
}
