package moe4j.kernels.attention;

import java.util.List;
import moe4j.kernels.check.BenchCase;
import moe4j.kernels.check.BenchCase.Cost;
import moe4j.kernels.check.BenchCase.Operation;
import moe4j.kernels.check.BenchCases;
import moe4j.kernels.check.KernelBench;
import moe4j.kernels.dropout.Dropout;
import org.bytedeco.pytorch.Tensor;

/** The projection to queries, keys and values, and Transformer-XL's attention. */
public final class AttentionBench implements KernelBench {
  @Override
  public List<BenchCase> cases(Scale scale) {
    BenchCases cases = new BenchCases();
    projection(scale, cases);
    relative(scale, cases);
    return cases.list();
  }

  private static void projection(Scale scale, BenchCases cases) {
    long rows = scale.of(32_768, 128);
    long heads = scale.of(12, 4);
    long channels = scale.of(64, 16);
    long h = heads * channels;
    double flops = 2.0 * rows * h * 3 * h;
    cases.bothWays(
        "projection to queries, keys, values",
        "[%d, %d]".formatted(rows, h),
        Cost.flops(flops),
        Cost.flops(3 * flops),
        in -> {
          Tensor x = in.leaf(rows, h);
          Tensor weight = in.leaf(3 * h, h);
          Tensor bias = in.leaf(3 * h);
          QkvProjection.Heads split = new QkvProjection.Heads(heads, 1, channels);
          return new Operation(
              () -> {
                QkvProjection.Parts parts = QkvProjection.apply(x, weight, bias, split);
                return List.of(parts.query(), parts.key(), parts.value());
              },
              null,
              List.of(x, weight, bias));
        });
  }

  private static void relative(Scale scale, BenchCases cases) {
    long samples = scale.of(16, 2);
    long queries = scale.of(512, 16);
    long heads = scale.of(8, 2);
    long channels = scale.of(64, 16);
    long keys = 2 * queries;
    // Three products forwards over the keys that a query sees, and twice that backwards.
    double seen = samples * heads * (queries * (keys - queries) + queries * (queries + 1) / 2.0);
    double flops = 3 * 2 * seen * channels;
    cases.bothWays(
        "relative attention",
        "[%d, %d + %d, %d, %d]".formatted(samples, queries, queries, heads, channels),
        Cost.flops(flops),
        Cost.flops(3 * flops),
        in -> {
          Tensor query = in.leaf(samples, queries, heads, channels);
          Tensor keyValue = in.leaf(samples, keys, 2, heads, channels);
          Tensor position = in.leaf(keys, heads, channels);
          Tensor contentBias = in.leaf(heads, channels);
          Tensor positionBias = in.leaf(heads, channels);
          return Operation.of(
              () ->
                  RelativeAttention.apply(
                      query,
                      keyValue,
                      position,
                      contentBias,
                      positionBias,
                      null,
                      false,
                      Dropout.NONE),
              query,
              keyValue,
              position,
              contentBias,
              positionBias);
        });
  }
}
