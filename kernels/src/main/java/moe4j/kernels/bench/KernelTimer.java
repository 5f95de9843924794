package moe4j.kernels.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import moe4j.kernels.bench.WorkTimer.Rounds;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchInputs;
import moe4j.kernels.cuda.Cuda;
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
 * Times operations, as {@link WorkTimer} does. What is small enough stays in a GPU's cache from
 * round to round.
 */
public final class KernelTimer {
  /** How often an operation runs on a GPU between two events. */
  private static final int REPLAYS = 10;

  private final Device device;
  private final ScalarType dtype;
  private final WorkTimer timer;

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
    this.timer = new WorkTimer(device, warmup, rounds, REPLAYS, false);
  }

  /** Times an operation and its reference, one after the other, on the same inputs. */
  public KernelTimes time(BenchCase of) {
    List<Rounds> times = new ArrayList<>();
    Scopes.run(
        () -> {
          try (BenchInputs inputs = new BenchInputs(device, dtype)) {
            Operation operation = of.operation().apply(inputs);
            times.add(timer.captured(work(of, operation.ours(), operation.leaves())));
            boolean own = operation.reference() != null;
            Supplier<List<Tensor>> reference = own ? operation.reference() : operation.ours();
            try {
              // A reference of its own calls no kernel that could be turned off.
              Kernels.useOurs(own);
              times.add(timer.captured(work(of, reference, operation.leaves())));
            } finally {
              Kernels.useOurs(true);
            }
          }
        });
    if (device.is_cuda()) {
      // The next operation's inputs find all of the memory.
      Cuda.emptyCache();
    }
    Rounds ours = times.get(0);
    Rounds reference = times.get(1);
    return new KernelTimes(
        of, ours.median(), reference.median(), ours.launched() || reference.launched());
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
}
