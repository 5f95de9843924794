package moe4j.kernels.selftest;

import java.util.Arrays;
import moe4j.kernels.check.Comparison;
import moe4j.kernels.check.KernelCheck;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.CudaGraph;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.CudaStream;
import moe4j.kernels.cuda.GraphPool;
import moe4j.kernels.cuda.TensorMap;
import moe4j.tensor.Scopes;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Boxes of tensors that the GPU's tensor memory accelerator copies by maps: where their elements
 * lie in shared memory, the zeros beyond the tensor's end, and what is written back and what not;
 * launched as they are, and captured.
 */
final class TensorMapCheck implements KernelCheck {
  private static final int COLUMNS = 64;
  private static final int THREADS = 128;

  @Override
  public String name() {
    return "tensor map";
  }

  @Override
  public void run(Comparison on) {
    if (!Cuda.takesTensorMaps()) {
      on.skip("GPUs below compute capability 9.0 have no tensor memory accelerator");
      return;
    }
    check(on, 8, 64, 64);
    check(on, 256, 300, 200);
    check(on, 64, 1, 72);
    check(on, 40, 3, 100, 136);
    check(on, 128, 5, 128, 64);
    check(on, 16, 2, 7, 8);
  }

  /** Checks a shape, [rows, columns] or [matrices, rows, columns]. */
  private static void check(Comparison on, int rows, long... shape) {
    Scopes.run(() -> new Boxes(on, rows, shape).check());
  }

  private static final class Boxes {
    private final Comparison on;
    private final int rows;
    private final long[] shape;
    private final int columnBoxes;
    private final int rowBoxes;
    private final int matrices;

    /** The tensors are columns of wider ones. */
    private final Tensor source;

    private final Tensor from;
    private final Tensor target;
    private final Tensor to;
    private final Tensor boxes;

    Boxes(Comparison on, int rows, long... shape) {
      this.on = on;
      this.rows = rows;
      this.shape = shape;
      int rank = shape.length;
      columnBoxes = boxes(shape[rank - 1], COLUMNS);
      rowBoxes = boxes(shape[rank - 2], rows);
      matrices = rank == 3 ? (int) shape[0] : 1;
      long[] wide = shape.clone();
      wide[rank - 1] += 24;
      source = Tensors.full(Double.NaN, ScalarType.BFloat16, on.device(), wide);
      from = source.narrow(rank - 1, 8, shape[rank - 1]);
      target = torch.empty_like(source);
      to = target.narrow(rank - 1, 16, shape[rank - 1]);
      long blocks = (long) matrices * rowBoxes * columnBoxes;
      boxes = Tensors.empty(ScalarType.BFloat16, on.device(), blocks, rows, COLUMNS);
    }

    private static int boxes(long size, int box) {
      return Math.toIntExact((size + box - 1) / box);
    }

    void check() {
      String what = "boxes of %d rows of %s".formatted(rows, Arrays.toString(shape));
      compare(what, this::launch);
      Cuda.synchronize();
      try (CudaStream stream = CudaStream.open();
          GraphPool pool = GraphPool.open()) {
        pool.serve(this::launch);
        try (CudaGraph graph = CudaGraph.capture(pool, this::launch)) {
          compare(what + ", captured", graph::replay);
          compare(what + ", captured, again", graph::replay);
        }
        Cuda.synchronize();
      }
    }

    private void launch() {
      int[] box = new int[shape.length];
      Arrays.fill(box, 1);
      box[box.length - 2] = rows;
      box[box.length - 1] = COLUMNS;
      CudaKernel.of("selftest/tensor_map.cu", "copy_boxes", "RANK=" + shape.length)
          .launch(
              boxes.size(0),
              THREADS,
              rows * COLUMNS * Short.BYTES,
              TensorMap.of(from, box),
              TensorMap.of(to, box),
              boxes,
              rows,
              columnBoxes,
              rowBoxes);
    }

    /** Launches on fresh numbers, with outputs that are not numbers before. */
    private void compare(String what, Runnable launch) {
      Tensor x = on.normal(ScalarType.BFloat16, shape);
      from.copy_(x);
      Scalar nan = new Scalar(Double.NaN);
      target.fill_(nan);
      boxes.fill_(nan);
      launch.run();
      long height = (long) rowBoxes * rows;
      long width = (long) columnBoxes * COLUMNS;
      Tensor padded = Tensors.zeros(ScalarType.Double, x.device(), matrices, height, width);
      padded.narrow(1, 0, shape[shape.length - 2]).narrow(2, 0, shape[shape.length - 1]).copy_(x);
      Tensor expected =
          padded.view(matrices, rowBoxes, rows, columnBoxes, COLUMNS).permute(0, 1, 3, 2, 4);
      on.same(what + ": read", boxes.to(ScalarType.Double), expected.reshape(boxes.shape()));
      on.same(what + ": written", to.to(ScalarType.Double), x.mul(new Scalar(2)));
      on.holds(
          what + ": written to nothing else",
          Tensors.item(target.isnan().sum()) == target.numel() - to.numel());
    }
  }
}
