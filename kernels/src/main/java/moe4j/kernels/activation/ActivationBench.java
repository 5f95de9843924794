package moe4j.kernels.activation;

import java.util.List;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.dropout.Dropout;
import moe4j.tensor.StepRandom;
import org.bytedeco.pytorch.Tensor;

/** Activations with their biases, as between the two projections of a feed-forward layer. */
public final class ActivationBench implements KernelBench {
  @Override
  public List<BenchCase> cases(Scale scale) {
    long rows = scale.of(32_768, 256);
    long f = scale.of(3072, 128);
    String shape = "[%d, %d]".formatted(rows, f);
    long one = scale.bytes(rows * f);
    BenchCases cases = new BenchCases();
    cases.bothWays(
        "bias and GELU",
        shape,
        Cost.bytes(2 * one),
        Cost.bytes(5 * one),
        in -> {
          Tensor x = in.leaf(rows, f);
          Tensor bias = in.leaf(f);
          return Operation.of(() -> BiasGelu.apply(x, bias), x, bias);
        });
    cases.bothWays(
        "bias and SwiGLU",
        "[%d, 2 x %d]".formatted(rows, f),
        Cost.bytes(3 * one),
        Cost.bytes(8 * one),
        in -> {
          Tensor x = in.leaf(rows, 2 * f);
          Tensor bias = in.leaf(2 * f);
          return Operation.of(() -> BiasSwiGlu.apply(x, bias), x, bias);
        });
    cases.bothWays(
        "bias, ReLU and dropout",
        shape,
        Cost.bytes(2 * one),
        Cost.bytes(5 * one),
        in -> {
          Tensor x = in.leaf(rows, f);
          Tensor bias = in.leaf(f);
          Dropout drop = new Dropout(new StepRandom(1, 0, 0, 1), 0.1, 1, 1);
          return Operation.of(() -> ReluDropout.apply(x, bias, null, null, drop), x, bias);
        });
    return cases.list();
  }
}
