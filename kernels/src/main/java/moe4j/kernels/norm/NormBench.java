package moe4j.kernels.norm;

import java.util.List;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.StepRandom;
import org.bytedeco.pytorch.Tensor;

/** The norms of a residual stream, with and without the addition in front. */
public final class NormBench implements KernelBench {
  private static final double EPSILON = 1e-5;

  @Override
  public List<BenchCase> cases(Scale scale) {
    long rows = scale.of(32_768, 512);
    long h = scale.of(768, 64);
    String shape = "[%d, %d]".formatted(rows, h);
    long stream = scale.bytes(rows * h);
    BenchCases cases = new BenchCases();
    // Residual and delta in, sum and normed out; of the backward two in and two out.
    cases.bothWays(
        "addition, dropout and LayerNorm",
        shape,
        Cost.bytes(4 * stream),
        Cost.bytes(8 * stream),
        in -> {
          Tensor residual = in.leaf(rows, h);
          Tensor delta = in.leaf(rows, h);
          Tensor bias = in.leaf(h);
          Tensor weight = in.leaf(h);
          Tensor normBias = in.leaf(h);
          Dropout drop = new Dropout(new StepRandom(1, 0, 0, 1), 0.1, 1, 1);
          return Operation.of(
              () -> AddNorm.apply(residual, delta, bias, drop, weight, normBias, EPSILON).normed(),
              residual,
              delta,
              bias,
              weight,
              normBias);
        });
    cases.bothWays(
        "LayerNorm",
        shape,
        Cost.bytes(2 * stream),
        Cost.bytes(5 * stream),
        in -> {
          Tensor x = in.leaf(rows, h);
          Tensor weight = in.leaf(h);
          Tensor bias = in.leaf(h);
          return Operation.of(() -> AddNorm.norm(x, weight, bias, EPSILON), x, weight, bias);
        });
    cases.bothWays(
        "RMSNorm",
        shape,
        Cost.bytes(2 * stream),
        Cost.bytes(5 * stream),
        in -> {
          Tensor x = in.leaf(rows, h);
          Tensor weight = in.leaf(h);
          return Operation.of(() -> AddNorm.norm(x, weight, null, EPSILON), x, weight);
        });
    return cases.list();
  }
}
