package moe4j.kernels.cuda;

import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import moe4j.tensor.Scopes;
import org.bytedeco.pytorch.cuda.CUDAEvent;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.cuda.CUDAStreamGuard;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * A stream beside the current one, for work that runs while the current one goes on. In a captured
 * graph the two are branches. Pieces of the work are marked by numbers, and the current stream
 * waits for a mark where it needs what was computed before it; it has to wait for the last one
 * before a capture ends.
 */
public final class SideStream implements AutoCloseable {
  private final CUDAStream stream;
  private final CUDAEvent fork = Scopes.keep(() -> new CUDAEvent());
  private final List<CUDAEvent> marks;

  /**
   * A stream of libtorch's pool.
   *
   * @param marks how many pieces there are
   * @param priority 0 as other streams, below 0 before them where both have blocks to start
   */
  public SideStream(int marks, int priority) {
    this.stream = Scopes.keep(() -> torch_cuda.getStreamFromPool(priority));
    this.marks =
        IntStream.range(0, marks).mapToObj(i -> Scopes.keep(() -> new CUDAEvent())).toList();
  }

  /** Has what follows on this stream wait for what is on the current stream by now. */
  public void fork() {
    Scopes.run(
        () -> {
          fork.record(torch_cuda.getCurrentCUDAStream());
          fork.block(stream);
        });
  }

  /**
   * Enqueues a piece of the work here.
   *
   * @param work is done with this stream as the current one; it may make no tensors
   */
  public void run(int mark, Runnable work) {
    Scopes.run(
        () -> {
          try (CUDAStreamGuard guard = new CUDAStreamGuard(stream.asStream())) {
            work.run();
          }
          marks.get(mark).record(stream);
        });
  }

  /** Has the current stream wait for a piece. */
  public void await(int mark) {
    Scopes.run(() -> marks.get(mark).block(torch_cuda.getCurrentCUDAStream()));
  }

  @Override
  public void close() {
    Stream.concat(Stream.of(fork), marks.stream()).forEach(CUDAEvent::close);
    stream.close();
  }
}
