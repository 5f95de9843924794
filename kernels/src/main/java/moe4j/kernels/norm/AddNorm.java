package moe4j.kernels.norm;

import java.util.ArrayList;
import java.util.List;
import moe4j.kernels.cuda.Cuda;
import moe4j.kernels.cuda.Kernels;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.product.ColumnSum;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * LayerNorm (Ba et al. 2016) or, without a norm bias, RMSNorm (Zhang and Sennrich 2019) over the
 * last dimension, and the addition to the residual stream in front of it. Statistics are taken in
 * fp32, of the sum as the type has it.
 */
public final class AddNorm {
  private AddNorm() {}

  /**
   * The results.
   *
   * @param sum the residual stream after the addition, [..., h]
   * @param normed the norm of that, [..., h]
   */
  public record Result(Tensor sum, Tensor normed) {}

  /**
   * {@code sum = residual + dropout(delta + bias)}, {@code normed = norm(sum)}. All tensors are of
   * one type, on a GPU bf16 or fp32.
   *
   * @param residual [..., h]
   * @param delta [..., h]
   * @param bias [h], or null
   * @param drop the dropout of {@code delta + bias}, whose elements may be a part of each sample
   * @param weight the norm's, [h]
   * @param normBias [h]; null for an RMSNorm
   * @param epsilon is added to the variance (of an RMSNorm the mean square) before its root
   * @throws IllegalArgumentException where a kernel is asked for other shapes or types
   */
  public static Result apply(
      Tensor residual,
      Tensor delta,
      Tensor bias,
      Dropout drop,
      Tensor weight,
      Tensor normBias,
      double epsilon) {
    if (Kernels.take(residual)) {
      Tensor[] results = new Fused(drop, epsilon).apply(residual, delta, bias, weight, normBias);
      return new Result(results[0], results[1]);
    }
    Tensor sum = residual.add(drop.apply(bias == null ? delta : delta.add(bias)));
    return new Result(sum, norm(sum, weight, normBias, epsilon));
  }

  /**
   * The norm alone.
   *
   * @param x [..., h]
   * @param weight [h]
   * @param normBias [h]; null for an RMSNorm
   * @param epsilon as for {@link #apply}
   * @return [..., h]
   */
  public static Tensor norm(Tensor x, Tensor weight, Tensor normBias, double epsilon) {
    if (Kernels.take(x)) {
      return new Fused(Dropout.NONE, epsilon).apply(x, null, null, weight, normBias)[0];
    }
    long[] shape = {weight.numel()};
    return normBias == null
        ? torch.rms_norm(x, shape, Tensors.optional(weight), new DoubleOptional(epsilon))
        : torch.layer_norm(
            x, shape, Tensors.optional(weight), Tensors.optional(normBias), epsilon, false);
  }

  /**
   * How many warps share a row, and how many rows a block has. A lane keeps some vectors of eight
   * elements; in the backward it keeps fewer, since each element there has three sums.
   */
  private record Layout(
      long channels, int forwardWarps, int forwardRows, int backwardWarps, int backwardRows) {
    /** Rows up to this size are kept in registers. */
    static final long LONGEST = 8192;

    static Layout of(long channels) {
      int vectors = (int) (channels / 8);
      int forward = (vectors + 127) / 128;
      int backward = Math.min(16, (vectors + 31) / 32);
      return new Layout(
          channels, forward, Math.max(1, 4 / forward), backward, Math.max(1, 12 / backward));
    }

    List<String> defines() {
      return List.of(
          "CHANNELS=" + channels,
          "FORWARD_WARPS=" + forwardWarps,
          "FORWARD_ROWS=" + forwardRows,
          "BACKWARD_WARPS=" + backwardWarps,
          "BACKWARD_ROWS=" + backwardRows);
    }
  }

  private static final class Fused extends CustomFunction {
    private static final String SOURCE = "norm/norm.cu";

    /**
     * The threads of a block that does not keep its row in registers, and such blocks on a
     * processor.
     */
    private static final int THREADS = 256;

    private static final int BLOCKS = 4;

    /** The backward's threads on a processor. */
    private static final int RESIDENT = 768;

    private final Dropout drop;
    private final double epsilon;
    private boolean adds;
    private Dropout.Draws draws;
    private Tensor sum;
    private Tensor weight;
    private Tensor mean;
    private Tensor rstd;

    Fused(Dropout drop, double epsilon) {
      this.drop = drop;
      this.epsilon = epsilon;
    }

    @Override
    protected Tensor[] forward(Tensor[] inputs) {
      Tensor residual = inputs[0].contiguous();
      Tensor delta = Launch.contiguous(inputs[1]);
      Tensor bias = Launch.contiguous(inputs[2]);
      weight = save(inputs[3].contiguous());
      Tensor normBias = Launch.contiguous(inputs[4]);
      check(residual, delta, bias, normBias);
      adds = delta != null;
      Dropout.Draws fresh = drop.draws(residual);
      draws = fresh.position() == null ? fresh : fresh.at(save(fresh.position()));
      Tensor total = adds ? Launch.empty(residual) : residual;
      Tensor normed = Launch.empty(residual);
      sum = save(total);
      long rows = residual.numel() / weight.numel();
      mean = normBias == null ? null : save(statistic(rows));
      rstd = save(statistic(rows));
      Layout layout = layout(residual, delta, bias, weight, normBias, total, normed);
      int threads = layout == null ? THREADS : 32 * layout.forwardWarps * layout.forwardRows;
      int blockRows = layout == null ? 1 : layout.forwardRows;
      Launch.kernel(SOURCE, "norm_forward", Tensors.dtype(residual), defines(layout))
          .launch(
              (rows + blockRows - 1) / blockRows,
              threads,
              0,
              residual,
              delta,
              bias,
              weight,
              normBias,
              adds ? total : null,
              normed,
              mean,
              rstd,
              rows,
              Math.toIntExact(weight.numel()),
              (float) epsilon,
              drop.seed(),
              draws.position(),
              draws.run(),
              draws.stride(),
              draws.offset(),
              drop.layer(),
              drop.operation(),
              (float) drop.p(),
              drop.scale());
      return adds ? new Tensor[] {total, normed} : new Tensor[] {normed};
    }

    @Override
    protected Tensor[] backward(Tensor[] gradients) {
      Tensor dsum = adds ? gradients[0] : null;
      Tensor dnormed = gradients[adds ? 1 : 0];
      Tensor total = Launch.empty(sum);
      Tensor dropped = drop.isNone() ? null : Launch.empty(sum);
      long channels = weight.numel();
      long rows = sum.numel() / channels;
      Layout layout = layout(dsum, dnormed, sum, weight, total, dropped);
      int threads = layout == null ? THREADS : 32 * layout.backwardWarps * layout.backwardRows;
      int blockRows = layout == null ? 1 : layout.backwardRows;
      int resident = layout == null ? BLOCKS : RESIDENT / threads;
      long blocks =
          Math.max(
              1,
              Math.min(
                  (rows + blockRows - 1) / blockRows, (long) Cuda.multiprocessors() * resident));
      Tensor partials = ColumnSum.partials(sum, blocks, 3 * channels);
      Launch.kernel(SOURCE, "norm_backward", Tensors.dtype(sum), defines(layout))
          .launch(
              blocks,
              threads,
              0,
              dsum,
              dnormed,
              sum,
              mean,
              rstd,
              weight,
              total,
              dropped,
              partials,
              rows,
              Math.toIntExact(channels),
              drop.seed(),
              draws.position(),
              draws.run(),
              draws.stride(),
              draws.offset(),
              drop.layer(),
              drop.operation(),
              (float) drop.p(),
              drop.scale());
      Tensor sums = ColumnSum.finish(partials, Tensors.dtype(weight)).view(3, channels);
      // Without dropout delta's gradient is the residual's; it gets a handle of its own all the
      // same.
      Tensor delta = dropped == null ? total.detach() : dropped;
      return new Tensor[] {
        needsGradient(0) ? total : null,
        needsGradient(1) ? delta : null,
        needsGradient(2) ? sums.select(0, 2) : null,
        needsGradient(3) ? sums.select(0, 0) : null,
        needsGradient(4) ? sums.select(0, 1) : null
      };
    }

    private void check(Tensor residual, Tensor delta, Tensor bias, Tensor normBias) {
      Launch.sameType(residual, delta, bias, weight, normBias);
      long h = weight.numel();
      if (residual.size(-1) != h
          || (delta != null && delta.numel() != residual.numel())
          || (bias != null && bias.numel() != h)
          || (normBias != null && normBias.numel() != h)) {
        throw new IllegalArgumentException(
            "A norm with %d weights takes rows of as many channels, and an addition and biases that fit, not a residual %s."
                .formatted(h, Tensors.shape(residual)));
      }
    }

    private Tensor statistic(long rows) {
      return Tensors.empty(ScalarType.Float, weight.device(), rows);
    }

    /** How a row is shared, or null where it is walked over. */
    private Layout layout(Tensor... tensors) {
      long channels = weight.numel();
      boolean registers =
          channels % 8 == 0
              && channels <= Layout.LONGEST
              && draws.inBlocks()
              && Launch.aligned(tensors);
      return registers ? Layout.of(channels) : null;
    }

    private String[] defines(Layout layout) {
      List<String> defines = new ArrayList<>();
      defines.add("ADD=" + (adds ? 1 : 0));
      defines.add("DROP=" + (drop.isNone() ? 0 : 1));
      if (!drop.isNone()) {
        defines.add(draws.define());
      }
      if (layout != null) {
        defines.addAll(layout.defines());
      }
      return defines.toArray(new String[0]);
    }
  }
}
