package moe4j.kernels.cuda;

import moe4j.tensor.Scopes;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.pytorch.cuda.CUDAEvent;

/** A mark in a stream, which tells when the GPU has come to it. */
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
