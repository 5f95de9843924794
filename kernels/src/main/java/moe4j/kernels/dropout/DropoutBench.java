package moe4j.kernels.dropout;

import java.util.List;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.KernelBench;
import moe4j.tensor.StepRandom;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Dropout, and the draws alone. */
public final class DropoutBench implements KernelBench {
  @Override
  public List<BenchCase> cases(Scale scale) {
    long rows = scale.of(32_768, 512);
    long h = scale.of(768, 64);
    String shape = "[%d, %d]".formatted(rows, h);
    long stream = scale.bytes(rows * h);
    StepRandom random = new StepRandom(1, 0, 0, 1);
    BenchCases cases = new BenchCases();
    cases.bothWays(
        "dropout",
        shape,
        Cost.bytes(2 * stream),
        Cost.bytes(4 * stream),
        in -> {
          Tensor x = in.leaf(rows, h);
          return Operation.of(() -> new Dropout(random, 0.1, 1, 1).apply(x), x);
        });
    // A GPU has one way to draw, so it is its own reference there.
    cases.forward(
        "uniform draws",
        shape,
        Cost.bytes(4 * rows * h),
        in -> {
          Tensor like = in.normal(ScalarType.Float, rows, h);
          return Operation.of(() -> Draw.uniform(random, like, 1, 1));
        });
    return cases.list();
  }
}
