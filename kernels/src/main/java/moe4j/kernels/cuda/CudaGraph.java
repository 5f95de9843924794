package moe4j.kernels.cuda;

import org.bytedeco.cuda.cudart.CUgraphExec_st;
import org.bytedeco.cuda.cudart.CUgraphNode_st;
import org.bytedeco.cuda.cudart.CUgraph_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.cuda.global.cudart;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.SizeTPointer;

/** GPU work captured once and replayed in one launch, on the same addresses each time. */
public final class CudaGraph implements AutoCloseable {
  private static final int FLAGS =
      cudart.cudaGraphInstantiateFlagAutoFreeOnLaunch
          | cudart.cudaGraphInstantiateFlagUseNodePriority;

  private static final ThreadLocal<Boolean> CAPTURING = ThreadLocal.withInitial(() -> false);

  private final GraphPool pool;
  private final CUgraphExec_st executable;
  private final long nodes;
  private boolean closed;

  private CudaGraph(GraphPool pool, CUgraphExec_st executable, long nodes) {
    this.pool = pool;
    this.executable = executable;
    this.nodes = nodes;
  }

  /**
   * Captures what {@code body} enqueues on the current stream, which must not be the default one
   * ({@link CudaStream#open}). Nothing of it is computed before {@link #replay}: tensors made in it
   * hold no values until then. The GPU is idle when it begins.
   *
   * <p>The body may not wait for the GPU, nor draw from libtorch's generator. It should have run
   * before on this stream, so that libraries have made their handles and workspaces and our kernels
   * are loaded; what outlives it (parameters, gradient buffers, inputs) has to exist already and to
   * be held as long as the graph. Scopes are the caller's. A backward pass has to run on this
   * thread, and no tensor of an earlier forward pass on another stream may be held: it keeps the
   * parameters' gradient nodes, which would draw that stream into the capture.
   *
   * @throws CaptureFailedException where the body throws, its exception being the cause, or CUDA
   *     refuses; the stream is usable again, and nothing was computed
   * @throws IllegalStateException on the default stream, or where the pool is closed or in use
   */
  public static CudaGraph capture(GraphPool pool, Runnable body) {
    CUstream_st stream = CudaStream.current();
    if (stream == null) {
      throw new IllegalStateException(
          "A CUDA graph cannot be captured on the default stream: a CudaStream has to be open.");
    }
    Cuda.synchronize();
    GraphPool.Allocation allocation = pool.allocate(stream.address());
    CUgraph_st graph = new CUgraph_st();
    boolean whole = false;
    try {
      // The order is libtorch's: the pool serves the stream before the capture begins and until
      // after its end.
      try (allocation) {
        enqueue(stream, graph, body);
      }
      long nodes = countNodes(graph);
      if (nodes == 0) {
        throw new CaptureFailedException(
            "Capturing a CUDA graph failed: nothing was enqueued on the current stream.");
      }
      CUgraphExec_st executable = new CUgraphExec_st();
      CudaErrors.runtime(
          cudart.cudaGraphInstantiate(executable, graph, FLAGS), "instantiate a captured graph");
      whole = true;
      return new CudaGraph(pool, executable, nodes);
    } catch (CaptureFailedException e) {
      throw e;
    } catch (RuntimeException e) {
      throw new CaptureFailedException(e);
    } finally {
      if (!graph.isNull()) {
        cudart.cudaGraphDestroy(graph);
      }
      if (!whole) {
        pool.release();
      }
    }
  }

  /** Whether this thread is capturing a graph: nothing may wait for the GPU then. */
  public static boolean isCapturing() {
    return CAPTURING.get();
  }

  /** Whatever happens in the body, the stream does not capture any more afterwards. */
  private static void enqueue(CUstream_st stream, CUgraph_st graph, Runnable body) {
    // Only this thread is kept from calls that a capture forbids; other threads go on.
    CudaErrors.runtime(
        cudart.cudaStreamBeginCapture(stream, cudart.cudaStreamCaptureModeThreadLocal),
        "begin capturing a graph");
    boolean whole = false;
    int status;
    CAPTURING.set(true);
    try {
      body.run();
      whole = true;
    } finally {
      CAPTURING.set(false);
      status = cudart.cudaStreamEndCapture(stream, graph);
      if (!whole) {
        // CUDA still remembers the failure and would report it to the next call that asks.
        cudart.cudaGetLastError();
      }
    }
    CudaErrors.runtime(status, "end capturing a graph");
  }

  private static long countNodes(CUgraph_st graph) {
    try (PointerScope scope = new PointerScope()) {
      SizeTPointer count = new SizeTPointer(1);
      CudaErrors.runtime(
          cudart.cudaGraphGetNodes(graph, (CUgraphNode_st) null, count),
          "count the nodes of a captured graph");
      return count.get();
    }
  }

  /** How many operations it holds: kernels, copies and fills. */
  public long nodes() {
    return nodes;
  }

  /** Enqueues the whole graph on the current stream. */
  public void replay() {
    if (closed) {
      throw new IllegalStateException("A closed CUDA graph cannot be replayed.");
    }
    CudaErrors.runtime(
        cudart.cudaGraphLaunch(executable, CudaStream.current()), "launch a captured graph");
  }

  /** Frees the graph, when the GPU is done with it, and gives its memory back to the pool. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      try {
        CudaErrors.runtime(cudart.cudaGraphExecDestroy(executable), "free a captured graph");
      } finally {
        pool.release();
      }
    }
  }
}
