package moe4j.kernels.attention;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.kernels.cuda.CudaKernel;
import moe4j.kernels.cuda.Launch;
import moe4j.kernels.dropout.Dropout;
import moe4j.kernels.product.ColumnSum;
import moe4j.tensor.CustomFunction;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * {@link RelativeAttention} on a GPU: the launches of {@code relative_attention.cu}, {@code
 * relative_queries.cu} and, for the gradients of keys and values, {@code relative_key_sums.cu} or
 * {@code relative_keys.cu}.
 */
final class RelativeAttentionKernel extends CustomFunction {
  /** The most channels of a head whose tiles the kernels hold. */
  private static final long MOST_CHANNELS = 128;

  /**
   * How much of the weights is left in memory, so that they are not computed again.
   *
   * @param forBackward the most bytes that a forward leaves until its backward
   * @param inBackward the most that a backward's first kernel leaves to its second one, beside what
   *     the forward has left to both
   */
  record Most(long forBackward, long inBackward) {
    private static final Most USUAL = new Most(RelativeAttention.MOST_KEPT_BYTES, 2L << 30);
  }

  private final Tensor firstKey;
  private final boolean sameLength;
  private final Dropout drop;
  private final Most most;
  private Tensor query;
  private Tensor keyValue;
  private Tensor position;
  private Tensor contentBias;
  private Tensor positionBias;
  private Tensor first;
  private Tensor out;
  private Tensor logSums;
  private Dropout.Draws draws;

  /** What the forward leaves of the weights, or nulls. */
  private Tensor given;

  private Tensor bases;

  /**
   * One application.
   *
   * @param firstKey int32 [1], or null
   */
  RelativeAttentionKernel(Tensor firstKey, boolean sameLength, Dropout drop) {
    this(firstKey, sameLength, drop, Most.USUAL);
  }

  /** The same, where more or less is left in memory. */
  RelativeAttentionKernel(Tensor firstKey, boolean sameLength, Dropout drop, Most most) {
    this.firstKey = firstKey;
    this.sameLength = sameLength;
    this.drop = drop;
    this.most = most;
  }

  @Override
  protected Tensor[] forward(Tensor[] inputs) {
    if (inputs[0].size(3) > MOST_CHANNELS) {
      throw new IllegalArgumentException(
          "Relative attention's kernels take heads of at most %d channels, not of %d."
              .formatted(MOST_CHANNELS, inputs[0].size(3)));
    }
    query = save(inputs[0].contiguous());
    keyValue = save(inputs[1].contiguous());
    position = save(inputs[2].contiguous());
    contentBias = save(inputs[3].contiguous());
    positionBias = save(inputs[4].contiguous());
    first = firstKey == null ? null : save(firstKey);
    Dropout.Draws fresh = drop.isNone() ? Dropout.NONE.draws(query) : drop.draws(weights());
    draws = fresh.position() == null ? fresh : fresh.at(save(fresh.position()));
    Tensor result = Launch.empty(query);
    out = save(result);
    logSums = save(perQuery());
    RelativeLayout layout = layout();
    long bytes = tileBytes(layout);
    if (isRecorded() && isBf16(layout) && bytes <= most.forBackward) {
      given = save(tiles(bytes));
      bases = save(bases(layout));
    }
    kernel(
            "attention/relative_attention.cu",
            "relative_forward",
            layout,
            "KEPT=" + (given == null ? 0 : 1),
            "ASKEW=" + layout.forwardAskew(),
            "BLOCKS=" + layout.forwardBlocks(!drop.isNone()))
        .launch(
            heads() * tiles(layout),
            layout.threads(),
            layout.forwardBytes(),
            arguments(result, logSums, given, bases));
    return new Tensor[] {result};
  }

  @Override
  protected Tensor[] backward(Tensor[] gradients) {
    RelativeLayout layout = layout();
    Tensor upstream = Launch.aligned(gradients[0]) ? gradients[0] : gradients[0].clone();
    Tensor deltas = perQuery();
    Tensor queryGradient = Launch.empty(query);
    long samples = query.size(0);
    long perHead = contentBias.numel();
    Tensor partials = ColumnSum.partials(query, samples * tiles(layout), 2 * perHead);
    Kept kept = kept(layout, upstream);
    Tensor distances = distances(layout, upstream, deltas, kept, queryGradient, partials);
    Tensor keyValueGradient = needsGradient(1) ? Launch.empty(keyValue) : null;
    long blocks = (keyValue.size(1) + layout.keys() - 1) / layout.keys();
    if (kept.slopes != null) {
      sums(layout, blocks, upstream, kept, keyValueGradient);
    } else if (keyValueGradient != null) {
      kernel("attention/relative_keys.cu", "relative_key_gradients", layout)
          .launch(
              heads() * blocks,
              layout.threads(),
              layout.keyBytes(),
              arguments(upstream, logSums, deltas, keyValueGradient));
    }
    ScalarType type = Tensors.dtype(query);
    Tensor biases =
        needsGradient(3) || needsGradient(4)
            ? ColumnSum.finish(partials, type).view(2, contentBias.size(0), contentBias.size(1))
            : null;
    return new Tensor[] {
      needsGradient(0) ? queryGradient : null,
      keyValueGradient,
      needsGradient(2) ? distances : null,
      needsGradient(3) ? biases.select(0, 0) : null,
      needsGradient(4) ? biases.select(0, 1) : null
    };
  }

  /**
   * The weights and their gradients, in the kernels' tiles; or nulls. Of the weights there is null,
   * too, where the forward's are taken.
   */
  private record Kept(Tensor weights, Tensor slopes) {}

  private Kept kept(RelativeLayout layout, Tensor upstream) {
    long bytes = tileBytes(layout);
    // Which weights were dropped the forward's do not say.
    boolean both = given == null || !drop.isNone();
    boolean keeps =
        needsGradient(1)
            && isBf16(layout)
            && Launch.aligned(upstream)
            && (both ? 2 : 1) * bytes <= most.inBackward;
    return keeps ? new Kept(both ? tiles(bytes) : null, tiles(bytes)) : new Kept(null, null);
  }

  private boolean isBf16(RelativeLayout layout) {
    return Tensors.dtype(query) == ScalarType.BFloat16 && isAligned(layout);
  }

  private long tileBytes(RelativeLayout layout) {
    return heads() * layout.tileBytes(query.size(1), keyValue.size(1));
  }

  /** A number for each query and tile of keys. */
  private Tensor bases(RelativeLayout layout) {
    long blocks = (keyValue.size(1) + layout.keys() - 1) / layout.keys();
    return Tensors.empty(
        ScalarType.Float, query.device(), heads() * blocks * tiles(layout) * layout.rows());
  }

  private Tensor tiles(long bytes) {
    return Tensors.empty(ScalarType.BFloat16, query.device(), bytes / 2);
  }

  /** The gradients of keys and values, of what was kept, which is closed. */
  private void sums(
      RelativeLayout layout, long blocks, Tensor upstream, Kept kept, Tensor gradient) {
    boolean takesGiven = kept.weights == null;
    Tensor weights = takesGiven ? given : kept.weights;
    int channels = Math.toIntExact(query.size(3));
    kernel(
            "attention/relative_key_sums.cu",
            "relative_key_sums",
            layout,
            "GIVEN=" + (takesGiven ? 1 : 0),
            "BLOCKS=" + layout.sumBlocks())
        .launch(
            heads() * blocks,
            layout.threads(),
            layout.sumBytes(),
            query,
            contentBias,
            first,
            upstream,
            weights,
            kept.slopes,
            takesGiven ? bases : null,
            logSums,
            gradient,
            Math.toIntExact(query.size(0)),
            Math.toIntExact(query.size(1)),
            Math.toIntExact(keyValue.size(1) - query.size(1)),
            Math.toIntExact(query.size(2)),
            channels,
            (float) (1 / Math.sqrt(channels)));
    weights.close();
    kept.slopes.close();
    if (takesGiven) {
      bases.close();
    }
  }

  /** Launches the kernel that stays with queries, and returns the gradient of positions. */
  private Tensor distances(
      RelativeLayout layout,
      Tensor upstream,
      Tensor deltas,
      Kept kept,
      Tensor queryGradient,
      Tensor partials) {
    boolean fixed = torch.globalContext().deterministicAlgorithms();
    long samples = query.size(0);
    int tiles = Math.toIntExact(tiles(layout));
    // Blocks add to the same distances in any order. For a fixed order each sample has sums of its
    // own, to which each launch adds once.
    Tensor sums =
        Tensors.zeros(ScalarType.Float, query.device(), fixed ? samples : 1, position.numel());
    CudaKernel kernel =
        kernel(
            "attention/relative_queries.cu",
            "relative_query_gradients",
            layout,
            "KEPT=" + (kept.slopes == null ? 0 : 1),
            "KEPT_WEIGHTS=" + (kept.weights == null ? 0 : 1),
            "GIVEN=" + (given == null ? 0 : 1));
    int step = fixed ? 1 : tiles;
    for (int tile = 0; tile < tiles; tile += step) {
      kernel.launch(
          heads() * step,
          layout.threads(),
          layout.queryBytes(),
          arguments(
              out,
              upstream,
              logSums,
              deltas,
              given,
              bases,
              kept.weights,
              kept.slopes,
              queryGradient,
              sums,
              partials,
              fixed ? position.numel() : 0L,
              tile,
              step));
    }
    Tensor all =
        fixed ? ColumnSum.finish(sums, Tensors.dtype(query)) : sums.to(Tensors.dtype(query));
    return all.view(position.shape());
  }

  /** The arguments that all kernels take, around those of one. */
  private Object[] arguments(Object... own) {
    List<Object> arguments =
        new ArrayList<>(Arrays.asList(query, keyValue, position, contentBias, positionBias, first));
    arguments.addAll(Arrays.asList(own));
    int channels = Math.toIntExact(query.size(3));
    arguments.addAll(
        Arrays.asList(
            Math.toIntExact(query.size(0)),
            Math.toIntExact(query.size(1)),
            Math.toIntExact(keyValue.size(1) - query.size(1)),
            Math.toIntExact(query.size(2)),
            channels,
            (float) (1 / Math.sqrt(channels)),
            drop.seed(),
            draws.position(),
            draws.run(),
            draws.stride(),
            draws.offset(),
            drop.layer(),
            drop.operation(),
            (float) drop.p(),
            drop.scale()));
    return arguments.toArray();
  }

  private CudaKernel kernel(String source, String function, RelativeLayout layout, String... own) {
    List<String> defines =
        new ArrayList<>(
            List.of(
                "HEAD=" + layout.head(),
                "KEYS=" + layout.keys(),
                "WARPS=" + layout.warps(),
                "ALIGNED=" + (isAligned(layout) ? 1 : 0),
                "SAME_LENGTH=" + (sameLength ? 1 : 0),
                "DROP=" + (drop.isNone() ? 0 : 1)));
    defines.addAll(List.of(own));
    if (!drop.isNone()) {
      defines.add(draws.define());
    }
    return Launch.kernel(source, function, Tensors.dtype(query), defines.toArray(new String[0]));
  }

  private boolean isAligned(RelativeLayout layout) {
    return query.size(3) % layout.vector() == 0 && Launch.aligned(query, keyValue, position);
  }

  private RelativeLayout layout() {
    return RelativeLayout.of(
        Math.toIntExact(query.size(3)), Tensors.dtype(query) == ScalarType.Float ? 4 : 2);
  }

  /** Samples times heads: each block works for one head of one sample. */
  private long heads() {
    return query.size(0) * query.size(2);
  }

  private long tiles(RelativeLayout layout) {
    return (query.size(1) + layout.rows() - 1) / layout.rows();
  }

  private Tensor perQuery() {
    return Tensors.empty(
        ScalarType.Float, query.device(), query.size(0), query.size(2), query.size(1));
  }

  /** A tensor of the weights' shape, without their memory: what draws are for. */
  private Tensor weights() {
    return Tensors.empty(ScalarType.Float, query.device(), 1)
        .expand(query.size(0), query.size(2), query.size(1), keyValue.size(1));
  }
}
