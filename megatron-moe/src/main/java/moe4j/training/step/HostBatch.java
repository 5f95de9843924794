package moe4j.training.step;

import java.util.ArrayList;
import java.util.List;
import moe4j.data.GptBatch;
import moe4j.data.SampleDataset;
import moe4j.kernels.cuda.CudaEvent;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A micro-batch in the host's memory, on its way to the device. For a GPU that memory is pinned: it
 * is copied behind the host's back, and filled again only once that is done.
 */
public final class HostBatch implements AutoCloseable {
  private final GptBatch samples;
  private final Tensor tokens;
  private final Tensor labels;
  private final Tensor lossMask;
  private final Tensor positions;
  private final Tensor documents;
  private final List<Tensor> owned = new ArrayList<>();
  private final CudaEvent copied;
  private boolean underWay;

  /** Room for a batch as a device's buffers have it. */
  HostBatch(BatchBuffers.Form form) {
    boolean gpu = form.device().is_cuda();
    this.samples = GptBatch.allocate(form.rows(), form.sequence());
    this.tokens = own(form, gpu, ScalarType.Long);
    this.labels = own(form, gpu, ScalarType.Long);
    this.lossMask = own(form, gpu, ScalarType.Float);
    this.positions = form.positions() ? own(form, gpu, ScalarType.Long) : null;
    this.documents = form.documents() ? own(form, gpu, ScalarType.Long) : null;
    this.copied = gpu ? new CudaEvent() : null;
  }

  private Tensor own(BatchBuffers.Form form, boolean pinned, ScalarType dtype) {
    Tensor tensor =
        Scopes.keep(() -> Tensors.emptyHost(dtype, pinned, form.rows(), form.sequence()));
    owned.add(tensor);
    return tensor;
  }

  /** Reads samples, once what was here before has left for the device. */
  void fill(SampleDataset dataset, long[] ids) {
    samples.fill(dataset, ids);
    if (underWay) {
      copied.synchronize();
      underWay = false;
    }
    Scopes.run(
        () -> {
          put(samples.tokens(), tokens);
          put(samples.labels(), labels);
          new FloatPointer(lossMask.data_ptr()).put(samples.lossMask());
          if (positions != null) {
            put(widen(samples.positionIds()), positions);
          }
          if (documents != null) {
            put(widen(samples.documentIds()), documents);
          }
        });
  }

  private static void put(long[] from, Tensor to) {
    new LongPointer(to.data_ptr()).put(from);
  }

  private static long[] widen(int[] values) {
    long[] wide = new long[values.length];
    for (int i = 0; i < values.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  /** Copies to the device, in the order of its work: the host need not wait. */
  void copyTo(moe4j.transformer.Batch device) {
    device.tokens().copy_(tokens, true);
    device.labels().copy_(labels, true);
    device.lossMask().copy_(lossMask, true);
    if (positions != null) {
      device.positions().copy_(positions, true);
    }
    if (documents != null) {
      device.documents().copy_(documents, true);
    }
    if (copied != null) {
      copied.record();
      underWay = true;
    }
  }

  @Override
  public void close() {
    if (copied != null) {
      copied.close();
    }
    owned.forEach(Tensor::close);
  }
}
