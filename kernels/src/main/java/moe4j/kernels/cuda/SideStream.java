package moe4j.kernels.cuda;

import java.util.function.Supplier;
import moe4j.tensor.Scopes;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.cuda.CUDAEvent;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.cuda.CUDAStreamGuard;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * A stream beside the current one, for a piece of a forward that does not wait for what the current
 * one does meanwhile. Autograd computes the piece's backward there, too, and waits where gradients
 * go from one stream to the other. In a captured graph the two are branches.
 */
public final class SideStream {
  private static SideStream only;

  private final CUDAStream stream = Scopes.keep(() -> torch_cuda.getStreamFromPool());
  private final CUDAEvent fork = Scopes.keep(() -> new CUDAEvent());
  private final CUDAEvent done = Scopes.keep(() -> new CUDAEvent());
  private final long address;

  private SideStream() {
    try (PointerScope scope = new PointerScope()) {
      address = stream.stream().address();
    }
  }

  /** The process's, for the thread that trains: pieces on it come one after the other. */
  public static synchronized SideStream get() {
    if (only == null) {
      only = new SideStream();
    }
    return only;
  }

  /** Whether a stream is the process's side stream. */
  static synchronized boolean is(long address) {
    return only != null && only.address == address;
  }

  /**
   * Begins a piece of work behind what is on the current stream by now. Nobody may use the result
   * before {@link #join}.
   *
   * @param read what the work reads of tensors that were made elsewhere
   */
  public Tensor compute(Tensor read, Supplier<Tensor> work) {
    Scopes.run(
        () -> {
          fork.record(torch_cuda.getCurrentCUDAStream());
          fork.block(stream);
          // Its memory is not handed out again before this stream is done with it.
          read.record_stream(stream.asStream());
        });
    CUDAStreamGuard guard = Scopes.keep(() -> new CUDAStreamGuard(stream.asStream()));
    try {
      return work.get();
    } finally {
      guard.close();
      try (PointerScope scope = new PointerScope()) {
        done.record(stream);
      }
    }
  }

  /** Has the current stream wait for the last piece. */
  public void join() {
    Scopes.run(() -> done.block(torch_cuda.getCurrentCUDAStream()));
  }
}
