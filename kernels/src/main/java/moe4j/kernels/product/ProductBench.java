package moe4j.kernels.product;

import java.util.List;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.KernelBench;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** Linear layers, sums over rows, and rows made from their groups'. */
public final class ProductBench implements KernelBench {
  @Override
  public List<BenchCase> cases(Scale scale) {
    long rows = scale.of(32_768, 256);
    long h = scale.of(768, 64);
    long f = scale.of(3072, 128);
    long groups = scale.of(64, 8);
    double flops = 2.0 * rows * h * f;
    // Of each of the three products both operands are read and the result is written.
    long each = scale.bytes(rows * h + h * f + rows * f);
    BenchCases cases = new BenchCases();
    cases.bothWays(
        "linear layer",
        "[%d, %d] to %d".formatted(rows, h, f),
        new Cost(each, flops),
        new Cost(3 * each, 3 * flops),
        in -> {
          Tensor x = in.leaf(rows, h);
          Tensor weight = in.leaf(f, h);
          Tensor bias = in.leaf(f);
          return Operation.beside(
              () -> Gemm.linear(x, weight, bias),
              () -> torch.linear(x, weight, Tensors.optional(bias)),
              x,
              weight,
              bias);
        });
    cases.forward(
        "sum over rows",
        "[%d, %d]".formatted(rows, f),
        Cost.bytes(scale.bytes(rows * f)),
        in -> {
          Tensor x = in.normal(rows, f);
          return Operation.of(() -> ColumnSum.of(x));
        });
    // Made of libtorch's operations on every device.
    cases.bothWays(
        "rows of their groups",
        "[%d, %d] to %d".formatted(groups, h, rows),
        Cost.bytes(scale.bytes(rows * h)),
        Cost.bytes(2 * scale.bytes(rows * h)),
        in -> {
          Tensor x = in.leaf(groups, h);
          Tensor offsets = in.ends(groups, rows);
          return Operation.of(() -> GroupRows.of(x, offsets, rows), x);
        });
    return cases.list();
  }
}
