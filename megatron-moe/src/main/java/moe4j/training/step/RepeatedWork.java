package moe4j.training.step;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import moe4j.kernels.cuda.CaptureFailedException;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaGraph;
import moe4j.kernels.cuda.GraphPool;

/**
 * The pieces of work that a run repeats: as they are, or as CUDA graphs, which take Java's and
 * libtorch's launch costs away. A piece is done as it is a few times, so that libraries have made
 * their plans and lasting tensors are there; then it is captured and from there on replayed. All
 * graphs share one pool of memory.
 *
 * <p>What cannot be captured says why, once, and the whole goes on without graphs.
 */
public final class RepeatedWork implements AutoCloseable {
  /** Times a piece is done as it is before it is captured. */
  static final int WARM_UPS = 3;

  private final GraphPool pool;
  private final Consumer<String> say;
  private final List<Piece> pieces = new ArrayList<>();
  private boolean capturing;
  private boolean settled;

  private RepeatedWork(GraphPool pool, Consumer<String> say) {
    this.pool = pool;
    this.say = say;
    this.capturing = pool != null;
  }

  /** Work that is done as it is. */
  public static RepeatedWork eager() {
    return new RepeatedWork(null, sentence -> {});
  }

  /**
   * Work that is captured, on a stream other than the device's default.
   *
   * @param say told what was captured, and why something was not
   */
  public static RepeatedWork captured(Consumer<String> say) {
    return new RepeatedWork(GraphPool.open(), say);
  }

  /**
   * A piece.
   *
   * @param name for people, such as {@code micro-step}
   * @param body what is done: the same operations on the same addresses each time, in scopes of its
   *     own
   * @param undo puts away what a body that could not be captured to its end has left in Java's
   *     hands
   */
  Piece piece(String name, Runnable body, Runnable undo) {
    Piece piece = new Piece(name, body, undo);
    pieces.add(piece);
    return piece;
  }

  /** One of them. */
  final class Piece {
    private final String name;
    private final Runnable body;
    private final Runnable undo;
    private int done;
    private CudaGraph graph;

    private Piece(String name, Runnable body, Runnable undo) {
      this.name = name;
      this.body = body;
      this.undo = undo;
    }

    /** Whether a graph does it. */
    public boolean captured() {
      return graph != null;
    }

    /** Does it once. */
    void run() {
      if (graph == null && capturing && done++ >= WARM_UPS) {
        capture();
      }
      if (graph != null) {
        graph.replay();
      } else if (capturing) {
        // In the graphs' memory, which would otherwise come on top of this round's.
        pool.serve(body);
      } else {
        body.run();
      }
    }

    private void capture() {
      try {
        graph = CudaGraph.capture(pool, body);
        say.accept("captured the %s as a CUDA graph of %d nodes".formatted(name, graph.nodes()));
      } catch (CaptureFailedException e) {
        say.accept(
            "--cuda-graph on: the %s cannot be captured (%s); going on without CUDA graphs"
                .formatted(name, e.getMessage()));
        capturing = false;
        undo.run();
        if (pieces.stream().noneMatch(Piece::captured)) {
          // Work that is not captured needs the memory at once.
          settle();
        }
      }
    }
  }

  /**
   * Between steps: lets go of the graphs of other pieces, where one could not be captured, and of
   * their memory, which would otherwise lie beside what the work now takes as it is. Until then
   * they hold what they have computed.
   */
  void settle() {
    if (pool != null && !capturing && !settled) {
      settled = true;
      drop();
      pool.close();
      Cuda.emptyCache();
    }
  }

  private void drop() {
    boolean any = false;
    for (Piece piece : pieces) {
      if (piece.graph != null) {
        if (!any) {
          Cuda.synchronize();
          any = true;
        }
        piece.graph.close();
        piece.graph = null;
      }
    }
  }

  @Override
  public void close() {
    drop();
    capturing = false;
    if (pool != null) {
      pool.close();
    }
  }
}
