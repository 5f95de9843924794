package moe4j.kernels.cuda;

import java.util.concurrent.atomic.AtomicLong;
import moe4j.tensor.Scopes;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.cuda.DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair;
import org.bytedeco.pytorch.cuda.StreamFilter;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * GPU memory of graphs: what is allocated under capture comes from it and stays at its address for
 * the replays. Graphs of one pool share its memory: what a body's tensors gave back before the end
 * of its capture, the next one uses, so they have to be replayed one after the other, and what a
 * graph leaves for a later one has to be held by a tensor meanwhile.
 *
 * <p>libtorch counts a pool's users: this object is one, each graph another. When the last has gone
 * and its tensors are closed, {@link Cuda#emptyCache} gives the memory back to the GPU.
 */
public final class GraphPool implements AutoCloseable {
  /**
   * Pools are known by numbers that nobody else may use; libtorch counts its own from 1. Its
   * function for the next one is of no use: it is mapped to return a pair of vectors, so the
   * number's memory would be freed as two vectors are.
   */
  private static final AtomicLong NEXT = new AtomicLong(1L << 40);

  private final byte device = Cuda.device();
  private final LongPointer number = Scopes.keep(() -> new LongPointer(0L, NEXT.getAndIncrement()));
  private final DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair id =
      new DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair((Pointer) number);
  private int users;
  private boolean allocating;
  private boolean closed;

  private GraphPool() {}

  /** Makes an empty pool on the current device. */
  public static GraphPool open() {
    GraphPool pool = new GraphPool();
    try (PointerScope scope = new PointerScope()) {
      if (!torch_cuda.getAllocator().initialized()) {
        torch.globalContext().lazyInitDevice(torch.DeviceType.CUDA);
      }
      torch_cuda.getAllocator().createOrIncrefPool(pool.device, pool.id);
    }
    pool.users = 1;
    return pool;
  }

  /**
   * Does work without capturing it, in the pool's memory: what its tensors give back there is ready
   * for a capture of the same work. The current stream must not be the default one.
   */
  public void serve(Runnable work) {
    Allocation allocation = allocate(CudaStream.currentAddress());
    try (allocation) {
      work.run();
    } finally {
      release();
    }
  }

  /**
   * Lets the pool serve a stream until what this returns is closed. Counts as a user, which {@link
   * #release} ends.
   */
  synchronized Allocation allocate(long stream) {
    if (closed) {
      throw new IllegalStateException("The pool of CUDA graphs is closed.");
    }
    if (allocating) {
      throw new IllegalStateException("A CUDA graph is being captured from this pool already.");
    }
    StreamFilter filter = Scopes.keep(() -> new OneStream(stream));
    try (PointerScope scope = new PointerScope()) {
      torch_cuda.getAllocator().beginAllocateToPool(device, id, filter);
    } catch (RuntimeException e) {
      filter.close();
      throw e;
    }
    users++;
    allocating = true;
    return new Allocation(filter);
  }

  /** Counts one user less. */
  synchronized void release() {
    try (PointerScope scope = new PointerScope()) {
      torch_cuda.getAllocator().releasePool(device, id);
    }
    users--;
    if (users == 0) {
      number.close();
    }
  }

  /** Ends captures from this pool; its graphs keep the memory that they use. */
  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      release();
    }
  }

  /** The time in which the pool serves a stream. libtorch keeps only the filter's address. */
  final class Allocation implements AutoCloseable {
    private final StreamFilter filter;

    private Allocation(StreamFilter filter) {
      this.filter = filter;
    }

    @Override
    public void close() {
      synchronized (GraphPool.this) {
        try (PointerScope scope = new PointerScope()) {
          torch_cuda.getAllocator().endAllocateToPool(device, id);
        }
        allocating = false;
        filter.close();
      }
    }
  }

  /**
   * Keeps the allocations of other streams, a prefetching thread's among them, out of the pool. The
   * side stream's are part of what is captured.
   */
  private static final class OneStream extends StreamFilter {
    private final long stream;

    OneStream(long stream) {
      this.stream = stream;
    }

    @Override
    public boolean call(Pointer asked) {
      return asked != null && (asked.address() == stream || SideStream.is(asked.address()));
    }
  }
}
