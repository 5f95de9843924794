package moe4j.kernels.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Supplier;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchInputs;
import moe4j.kernels.cuda.CaptureFailedException;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaEvent;
import moe4j.kernels.cuda.CudaGraph;
import moe4j.kernels.cuda.GraphPool;
import moe4j.kernels.cuda.Kernels;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Times operations. On a GPU an operation is captured as a graph, as in a training step, so that
 * its kernels are timed and not their launches, and events on the GPU take the time. There the
 * calling thread needs a {@code CudaStream} that is open, and has to compute backwards itself.
 */
public final class KernelTimer {
  /** How often an operation runs on a GPU between two events, whose clock ticks every 0.5 us. */
  private static final int REPLAYS = 10;

  /** Times an operation runs as it is before it is captured, so that its kernels are loaded. */
  private static final int BEFORE_CAPTURE = 3;

  private final Device device;
  private final ScalarType dtype;
  private final int warmup;
  private final int rounds;

  /**
   * A timer for a device.
   *
   * @param dtype of what operations are given
   * @param warmup first rounds that do not count
   * @param rounds those that do, at least one
   */
  public KernelTimer(Device device, ScalarType dtype, int warmup, int rounds) {
    this.device = device;
    this.dtype = dtype;
    this.warmup = warmup;
    this.rounds = rounds;
  }

  /** A round's median time in seconds, and whether each round was launched from Java. */
  private record Median(double seconds, boolean launched) {}

  /** Times an operation and its reference, one after the other, on the same inputs. */
  public KernelTimes time(BenchCase of) {
    List<Median> medians = new ArrayList<>();
    Scopes.run(
        () -> {
          try (BenchInputs inputs = new BenchInputs(device, dtype)) {
            Operation operation = of.operation().apply(inputs);
            medians.add(median(work(of, operation.ours(), operation.leaves())));
            boolean own = operation.reference() != null;
            Supplier<List<Tensor>> reference = own ? operation.reference() : operation.ours();
            try {
              // A reference of its own calls no kernel that could be turned off.
              Kernels.useOurs(own);
              medians.add(median(work(of, reference, operation.leaves())));
            } finally {
              Kernels.useOurs(true);
            }
          }
        });
    if (device.is_cuda()) {
      // The next operation's inputs find all of the memory.
      Cuda.emptyCache();
    }
    Median ours = medians.get(0);
    Median reference = medians.get(1);
    return new KernelTimes(
        of, ours.seconds, reference.seconds, ours.launched || reference.launched);
  }

  /** A round, whose tensors are closed after it. */
  private static Runnable work(BenchCase of, Supplier<List<Tensor>> body, List<Tensor> leaves) {
    if (!of.backward()) {
      return () -> Scopes.run(() -> withoutGradients(body));
    }
    List<Tensor> upstream = new ArrayList<>();
    for (Tensor result : withoutGradients(body)) {
      upstream.add(torch.ones_like(result));
    }
    return () -> Scopes.run(() -> bothWays(body, upstream, leaves));
  }

  private static List<Tensor> withoutGradients(Supplier<List<Tensor>> body) {
    try (NoGradGuard guard = new NoGradGuard()) {
      return body.get();
    }
  }

  private static void bothWays(
      Supplier<List<Tensor>> body, List<Tensor> upstream, List<Tensor> leaves) {
    try {
      TensorVector outputs = Tensors.vector(body.get());
      torch.backward(
          outputs, Tensors.vector(upstream), new BoolOptional(), false, new TensorVector());
    } finally {
      CustomFunction.settle();
      // So that no round's gradients are added to the last one's.
      leaves.forEach(leaf -> leaf.mutable_grad().reset());
    }
  }

  private Median median(Runnable work) {
    if (!device.is_cuda()) {
      return new Median(onTheCpu(work), false);
    }
    try (GraphPool pool = GraphPool.open()) {
      for (int i = 0; i < BEFORE_CAPTURE; i++) {
        pool.serve(work);
      }
      try (CudaGraph graph = CudaGraph.capture(pool, work)) {
        double seconds = onTheGpu(graph::replay);
        // A graph must not be freed while it runs.
        Cuda.synchronize();
        return new Median(seconds, false);
      } catch (CaptureFailedException e) {
        return new Median(onTheGpu(work), true);
      }
    }
  }

  private double onTheCpu(Runnable work) {
    double[] seconds = new double[rounds];
    for (int round = -warmup; round < rounds; round++) {
      long begin = System.nanoTime();
      work.run();
      if (round >= 0) {
        // Work may take less than a tick of the clock, which would then show 0.
        seconds[round] = Math.max(1, System.nanoTime() - begin) * 1e-9;
      }
    }
    return middle(seconds);
  }

  private double onTheGpu(Runnable work) {
    double[] seconds = new double[rounds];
    try (CudaEvent begin = new CudaEvent();
        CudaEvent end = new CudaEvent()) {
      for (int round = -warmup; round < rounds; round++) {
        begin.record();
        for (int i = 0; i < REPLAYS; i++) {
          work.run();
        }
        end.record();
        end.synchronize();
        if (round >= 0) {
          seconds[round] = begin.elapsedMillis(end) * 1e-3 / REPLAYS;
        }
      }
    }
    return middle(seconds);
  }

  private static double middle(double[] seconds) {
    double[] sorted = seconds.clone();
    Arrays.sort(sorted);
    int n = sorted.length;
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
  }
}
