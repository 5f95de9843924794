package moe4j.kernels.cuda;

import moe4j.tensor.Scopes;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.cuda.CUDAEvent;
import org.bytedeco.pytorch.global.torch_cuda;

/** A mark in a stream: whether, and when, the GPU has come to it. */
public final class CudaEvent implements AutoCloseable {
  private final CUDAEvent event = Scopes.keep(() -> new CUDAEvent(cudart.cudaEventDefault));

  /** An event that takes the time; not yet recorded. */
  public CudaEvent() {}

  /** Puts the mark at the end of the current stream; a later one replaces it. */
  public void record() {
    event.record();
  }

  /** Waits until the GPU has come to the mark; at once where nothing was recorded. */
  public void synchronize() {
    event.synchronize();
  }

  /** Whether the GPU has come to the mark; true where nothing was recorded. */
  public boolean query() {
    return event.query();
  }

  /** Has what is enqueued on the current stream from now on wait for the mark; Java does not. */
  public void block() {
    try (PointerScope scope = new PointerScope()) {
      event.block(torch_cuda.getCurrentCUDAStream());
    }
  }

  /**
   * The time from this mark to a later one, in milliseconds. The GPU has to have come to both.
   *
   * @throws RuntimeException where one is not recorded, or not reached
   */
  public double elapsedMillis(CudaEvent later) {
    return event.elapsed_time(later.event);
  }

  @Override
  public void close() {
    event.close();
  }
}
