package moe4j.kernels.selftest;

import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.cuda.CaptureFailedException;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaGraph;
import moe4j.kernels.cuda.CudaStream;
import moe4j.kernels.cuda.GraphPool;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Captured graphs: replays, one pool for two, and what a capture that fails leaves behind. */
final class GraphCheck implements KernelCheck {
  @Override
  public String name() {
    return "graph";
  }

  @Override
  public void run(Comparison on) {
    Cuda.synchronize();
    try (CudaStream stream = CudaStream.open();
        GraphPool pool = GraphPool.open()) {
      Tensor x = Tensors.zeros(ScalarType.Float, on.device(), 1000);
      Tensor y = Tensors.zeros(ScalarType.Float, on.device(), 1000);
      Tensor z = Tensors.zeros(ScalarType.Float, on.device(), 1000);
      Runnable square = () -> Scopes.run(() -> y.copy_(x.mul(x).add(y)));
      Runnable half = () -> Scopes.run(() -> z.copy_(y.mul(new Scalar(0.5))));
      pool.serve(square);
      pool.serve(half);
      fails(on, pool, x);
      try (CudaGraph first = CudaGraph.capture(pool, square);
          CudaGraph second = CudaGraph.capture(pool, half)) {
        // A capture computes nothing: y is still 0.
        on.same("captured, not computed", y, Tensors.zeros(ScalarType.Float, x.device(), 1000));
        Tensor sum = Tensors.zeros(ScalarType.Double, x.device(), 1000);
        for (int i = 0; i < 5; i++) {
          Tensor values = on.normal(ScalarType.Float, 1000).to(on.device(), ScalarType.Float);
          x.copy_(values);
          sum.add_(values.to(ScalarType.Double).square());
          first.replay();
          second.replay();
        }
        on.close("replays on what the inputs hold", y, sum, 1e-6);
        on.close("the second graph of a pool", z, sum.mul(new Scalar(0.5)), 1e-6);
      }
      Cuda.synchronize();
    }
  }

  /** Asks the GPU under capture. */
  private static void fails(Comparison on, GraphPool pool, Tensor x) {
    boolean refused = false;
    try {
      CudaGraph.capture(pool, () -> Tensors.item(x.sum())).close();
    } catch (CaptureFailedException e) {
      refused = true;
    }
    on.holds("a question to the GPU under capture is refused", refused);
    on.close(
        "the stream works on",
        x.add(new Scalar(1)).sum(),
        Tensors.full(1000, ScalarType.Double, x.device()),
        0);
  }
}
