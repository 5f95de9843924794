package moe4j.kernels.bench;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.cuda.CaptureFailedException;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaEvent;
import moe4j.kernels.cuda.CudaGraph;
import moe4j.kernels.cuda.GraphPool;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Times work in rounds. On a GPU events take the time, and the calling thread needs a {@code
 * CudaStream} that is open, and has to compute backwards itself.
 *
 * @param warmup first rounds that do not count
 * @param rounds those that do, at least one
 * @param times how often a round on a GPU does the work, since the clock of events ticks every 0.5
 *     us
 * @param cold whether other memory is read before each round, so that the work finds nothing of its
 *     own in the GPU's cache
 */
public record WorkTimer(Device device, int warmup, int rounds, int times, boolean cold) {
  /** Times work is done as it is before it is captured, so that its kernels are loaded. */
  private static final int BEFORE_CAPTURE = 3;

  /** Several times what a GPU's cache holds. */
  private static final long EVICTING_BYTES = 256L << 20;

  /**
   * What the work took.
   *
   * @param seconds of each round, ascending; one round's work done once
   * @param launched whether a GPU's rounds were launched from Java and not replayed as a graph:
   *     little work then takes as long as its launches
   */
  public record Rounds(List<Double> seconds, boolean launched) {
    /** Sorts the rounds. */
    public Rounds {
      seconds = seconds.stream().sorted().toList();
    }

    /** Seconds of the round in the middle. */
    public double median() {
      int n = seconds.size();
      return (seconds.get((n - 1) / 2) + seconds.get(n / 2)) / 2;
    }

    /** Seconds of the fastest round. */
    public double least() {
      return seconds.get(0);
    }

    /** Seconds of the slowest round. */
    public double most() {
      return seconds.get(seconds.size() - 1);
    }
  }

  /**
   * Times work that a GPU replays as a graph, as it does a training step, so that its kernels are
   * timed and not their launches. What cannot be captured is launched.
   */
  public Rounds captured(Runnable work) {
    if (!device.is_cuda()) {
      return launched(work);
    }
    try (GraphPool pool = GraphPool.open()) {
      for (int i = 0; i < BEFORE_CAPTURE; i++) {
        pool.serve(work);
      }
      try (CudaGraph graph = CudaGraph.capture(pool, work)) {
        Rounds replayed = new Rounds(onTheGpu(graph::replay), false);
        // A graph must not be freed while it runs.
        Cuda.synchronize();
        return replayed;
      } catch (CaptureFailedException e) {
        return launched(work);
      }
    }
  }

  /** Times work that Java launches each time. */
  public Rounds launched(Runnable work) {
    return device.is_cuda() ? new Rounds(onTheGpu(work), true) : new Rounds(onTheCpu(work), false);
  }

  private List<Double> onTheCpu(Runnable work) {
    List<Double> seconds = new ArrayList<>();
    for (int round = -warmup; round < rounds; round++) {
      long begin = System.nanoTime();
      work.run();
      if (round >= 0) {
        // Work may take less than a tick of the clock, which would then show 0.
        seconds.add(Math.max(1, System.nanoTime() - begin) * 1e-9);
      }
    }
    return seconds;
  }

  private List<Double> onTheGpu(Runnable work) {
    List<Double> seconds = new ArrayList<>();
    try (PointerScope scope = new PointerScope();
        CudaEvent begin = new CudaEvent();
        CudaEvent end = new CudaEvent()) {
      Tensor other = cold ? Tensors.zeros(ScalarType.Float, device, EVICTING_BYTES / 4) : null;
      for (int round = -warmup; round < rounds; round++) {
        if (cold) {
          // The GPU reads for longer than Java takes to launch what follows. What is only read need
          // not be written back while the work is timed.
          Scopes.run(other::sum);
        }
        begin.record();
        for (int i = 0; i < times; i++) {
          work.run();
        }
        end.record();
        end.synchronize();
        if (round >= 0) {
          seconds.add(begin.elapsedMillis(end) * 1e-3 / times);
        }
      }
    }
    return seconds;
  }
}
