package moe4j.plan;

import java.util.stream.Stream;
import moe4j.cost.Placement;

/**
 * Bytes of the fullest rank. The backward makes gradients while it frees activations, but the
 * measured memory that the allocator reserves is their sum; so they are added.
 *
 * @param parameters parameters in the model's type
 * @param gradients gradients as a backward leaves them and, if several are added up, their sums
 * @param optimizer masters and two moments, or this rank's part of them
 * @param activations what one micro-batch's forward keeps, including the logits
 * @param buffers what a part's backward needs in addition, and buckets that are being reduced
 * @param constant CUDA's context, libraries, kernels and communicators, which libtorch's allocator
 *     does not count
 */
public record MemoryEstimate(
    double parameters,
    double gradients,
    double optimizer,
    double activations,
    double buffers,
    double constant) {

  /** Assumed for the context, cuBLAS, cuDNN and our kernels. */
  private static final double CONTEXT = Gpu.GIB;

  /** Assumed for NCCL's buffers of a communicator. */
  private static final double COMMUNICATOR = 0.25 * Gpu.GIB;

  /** The estimate of a layout without a {@link PlannedLayout#refusal}. */
  public static MemoryEstimate of(PlannedModel model, PlannedLayout layout, Choices choices) {
    ParameterCount count = ParameterCount.of(model, layout.tp(), layout.ep(), layout.etp());
    int e = model.bytes();
    boolean early = choices.reducesInBackward(layout);
    double bucket = Math.min(Choices.bucket(layout), (double) count.rank());
    double inPlace = choices.addsInPlace(model, layout) ? count.experts() : 0;
    double left = early ? 0 : e * (count.rank() - inPlace);
    double sums = choices.sums(model, layout) ? choices.state().gradient() * count.rank() : 0;
    double shards = layout.distributedOptimizer() ? layout.dp() : 1;
    double expertShards = layout.distributedOptimizer() ? layout.edp() : 1;
    double each = choices.state().moments() + (model.bf16() ? choices.state().master() : 0);
    Placement placement = layout.placement(choices);
    return new MemoryEstimate(
        (double) e * count.rank(),
        left + sums,
        each * (count.dense() / shards + count.experts() / expertShards),
        model.kept(placement),
        model.working(placement) + (early ? 2 * bucket * e : 0),
        CONTEXT + communicators(model, layout) * COMMUNICATOR);
  }

  private static long communicators(PlannedModel model, PlannedLayout layout) {
    Stream<RankSpan> dense = Stream.of(layout.tensorGroup(), layout.dataGroup());
    Stream<RankSpan> experts =
        Stream.of(layout.expertGroup(), layout.expertTensorGroup(), layout.expertDataGroup());
    return Stream.concat(dense, model.hasExperts() ? experts : Stream.of())
        .filter(group -> !group.isAlone())
        .distinct()
        .count();
  }

  /** What libtorch's allocator reserves: all but the constant. */
  public double reserved() {
    return parameters + gradients + optimizer + activations + buffers;
  }

  /** The sum of all. */
  public double total() {
    return reserved() + constant;
  }
}
