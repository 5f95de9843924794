package moe4j.kernels.loss;

import java.util.List;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.KernelBench;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The output layer with its loss, and a rank's part of a loss and of its gradient. */
public final class LossBench implements KernelBench {
  @Override
  public List<BenchCase> cases(Scale scale) {
    long rows = scale.of(8192, 64);
    long h = scale.of(768, 32);
    int vocabulary = (int) scale.of(50_304, 512);
    double flops = 2.0 * rows * h * vocabulary;
    BenchCases cases = new BenchCases();
    cases.bothWays(
        "output layer and its loss",
        "[%d, %d] to %d".formatted(rows, h, vocabulary),
        Cost.flops(flops),
        Cost.flops(3 * flops),
        in -> {
          Tensor hidden = in.leaf(rows, h);
          Tensor weight = in.leaf(vocabulary, h);
          Tensor labels = in.whole(vocabulary, rows);
          return Operation.of(() -> CrossEntropy.linear(hidden, weight, labels), hidden, weight);
        });
    cases.forward(
        "a rank's part of the loss",
        "[%d, %d]".formatted(rows, vocabulary),
        Cost.bytes(scale.bytes(rows * vocabulary)),
        in -> {
          Tensor logits = in.normal(rows, vocabulary);
          Tensor labels = in.whole(vocabulary, rows);
          CrossEntropyPart part = new CrossEntropyPart(0, vocabulary);
          return Operation.of(() -> part.sums(logits, labels));
        });
    // On a GPU it is made in the logits' memory: the next round begins with what this one leaves.
    cases.forward(
        "a rank's part of the loss's gradient",
        "[%d, %d]".formatted(rows, vocabulary),
        Cost.bytes(2 * scale.bytes(rows * vocabulary)),
        in -> {
          Tensor logits = in.normal(rows, vocabulary);
          Tensor labels = in.whole(vocabulary, rows);
          Tensor logSums = in.normal(ScalarType.Float, rows);
          Tensor upstream = in.normal(ScalarType.Float, rows);
          CrossEntropyPart part = new CrossEntropyPart(0, vocabulary);
          return Operation.of(() -> part.gradient(logits, labels, logSums, upstream));
        });
    return cases.list();
  }
}
