package moe4j.kernels.cuda;

import moe4j.tensor.Scopes;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.cuda.CUDAStreamGuard;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * A stream of libtorch's pool, current on the thread that opened it until it is closed there. All
 * of libtorch's work on that thread goes to it, and graphs can be captured on it. It does not wait
 * for the work of the stream before it, and that stream does not wait for it afterwards:
 * synchronize between them.
 */
public final class CudaStream implements AutoCloseable {
  private final Thread owner = Thread.currentThread();
  private final CUDAStreamGuard guard;

  private CudaStream(CUDAStreamGuard guard) {
    this.guard = guard;
  }

  /** Takes the next stream of the pool; after 32 of them they come again. */
  public static CudaStream open() {
    return new CudaStream(
        Scopes.keep(() -> new CUDAStreamGuard(torch_cuda.getStreamFromPool().asStream())));
  }

  /** The current stream's handle; 0 is the default stream. */
  static long currentAddress() {
    CUstream_st stream = current();
    return stream == null ? 0 : stream.address();
  }

  /** The current stream, which libtorch owns; null is the default stream. */
  static CUstream_st current() {
    try (PointerScope scope = new PointerScope()) {
      return torch_cuda.getCurrentCUDAStream().stream();
    }
  }

  /**
   * Makes the stream before it current again.
   *
   * @throws IllegalStateException on another thread than the one that opened it
   */
  @Override
  public void close() {
    if (Thread.currentThread() != owner) {
      throw new IllegalStateException(
          "A CUDA stream has to be closed by the thread that opened it, " + owner.getName() + ".");
    }
    guard.close();
  }
}
