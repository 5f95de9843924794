package moe4j.kernels.attention;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import moe4j.kernels.cuda.Cuda;
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
   * The most bytes of weights and their gradients that a backward leaves in memory while it runs,
   * so that they need not be computed twice.
   */
  private static final long MOST_KEPT = 2L << 30;

  private final Tensor firstKey;
  private final boolean sameLength;
  private final Dropout drop;
  private final long mostKept;
  private Tensor query;
  private Tensor keyValue;
  private Tensor position;
  private Tensor contentBias;
  private Tensor positionBias;
  private Tensor first;
  private Tensor out;
  private Tensor logSums;
  private Dropout.Draws draws;

  /**
   * One application.
   *
   * @param firstKey int32 [1], or null
   */
  RelativeAttentionKernel(Tensor firstKey, boolean sameLength, Dropout drop) {
    this(firstKey, sameLength, drop, MOST_KEPT);
  }

  /** The same, with another bound for what a backward leaves in memory: 0 for nothing. */
  RelativeAttentionKernel(Tensor firstKey, boolean sameLength, Dropout drop, long mostKept) {
    this.firstKey = firstKey;
    this.sameLength = sameLength;
    this.drop = drop;
    this.mostKept = mostKept;
  }

  /**
   * How a block's tile is cut: so many keys, and 16 queries for each of so many warps.
   *
   * @param head a head's channels, a multiple of 16
   * @param elementBytes of an element
   */
  private record Layout(int head, int elementBytes, int keys, int warps) {
    /** From the fastest to the smallest. */
    private static final int[][] TILES = {{64, 4}, {32, 4}, {32, 2}, {16, 1}};

    /** The first whose kernels the GPU's shared memory holds. */
    static Layout of(int channels, int elementBytes) {
      int head = (channels + 15) / 16 * 16;
      Layout layout = null;
      for (int[] tile : TILES) {
        layout = new Layout(head, elementBytes, tile[0], tile[1]);
        // Longer rows take more registers than a tile of 64 keys leaves.
        boolean large = tile[0] == 64 && (elementBytes > 2 || head > 64);
        if (!large && Math.max(layout.queryBytes(), layout.keyBytes()) <= Cuda.blockMemory()) {
          break;
        }
      }
      return layout;
    }

    int rows() {
      return 16 * warps;
    }

    int threads() {
      return 32 * warps;
    }

    /** How many elements 16 bytes hold. */
    private int vector() {
      return 16 / elementBytes;
    }

    /** Bytes of a row of so many elements in shared memory, as in {@code mma.cuh}. */
    private int row(int columns) {
      int bytes = columns * elementBytes;
      return bytes % 128 == 0 ? bytes : bytes + 16;
    }

    /** For how many keys a warp of the forward keeps the products in shared memory at a time. */
    int forwardAskew() {
      return Math.min(32, keys);
    }

    /**
     * The forward's blocks on a multiprocessor. For such heads the registers are enough for three,
     * and the third block is worth more than what else they could hold.
     */
    int forwardBlocks(boolean drops) {
      return keys == 64 && !drops ? 3 : 1;
    }

    /** Bytes of so many rows of a head, of the biases and of the warps' own memory. */
    private int bytes(int rows, int askew) {
      int strip = Math.max(64 * (askew + 24), Math.max(16 * row(head), 32 * row(keys)));
      return rows * row(head) + 2 * head * elementBytes + warps * strip;
    }

    int forwardBytes() {
      return bytes(6 * keys + rows(), forwardAskew());
    }

    int queryBytes() {
      return bytes(6 * keys + 2 * rows(), keys) + rows() * row(rows() + keys);
    }

    int keyBytes() {
      return bytes(3 * keys + 6 * rows(), keys);
    }

    int sumBytes() {
      return 4 * rows() * row(head) + head * elementBytes;
    }

    /** Blocks of sums on a multiprocessor that registers are enough for. */
    int sumBlocks() {
      return head <= 64 ? 3 : 1;
    }

    /**
     * Bytes of the tiles of weights for so many queries and keys: a queries' block has whole ones.
     */
    long tileBytes(long queries, long all) {
      long high = (queries + rows() - 1) / rows() * rows();
      long wide = (all + keys - 1) / keys * keys;
      return high * wide * elementBytes;
    }
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
    Layout layout = layout();
    kernel(
            "attention/relative_attention.cu",
            "relative_forward",
            layout,
            "ASKEW=" + layout.forwardAskew(),
            "BLOCKS=" + layout.forwardBlocks(!drop.isNone()))
        .launch(
            heads() * tiles(layout),
            layout.threads(),
            layout.forwardBytes(),
            arguments(result, logSums));
    return new Tensor[] {result};
  }

  @Override
  protected Tensor[] backward(Tensor[] gradients) {
    Layout layout = layout();
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
    if (kept.weights != null) {
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

  /** The weights and their gradients, in the kernels' tiles; or nulls. */
  private record Kept(Tensor weights, Tensor slopes) {}

  private Kept kept(Layout layout, Tensor upstream) {
    long bytes = heads() * layout.tileBytes(query.size(1), keyValue.size(1));
    boolean keeps =
        needsGradient(1)
            && Tensors.dtype(query) == ScalarType.BFloat16
            && isAligned(layout)
            && Launch.aligned(upstream)
            && 2 * bytes <= mostKept;
    return keeps ? new Kept(tiles(bytes), tiles(bytes)) : new Kept(null, null);
  }

  private Tensor tiles(long bytes) {
    return Tensors.empty(ScalarType.BFloat16, query.device(), bytes / 2);
  }

  /** The gradients of keys and values, of what was kept, which is closed. */
  private void sums(Layout layout, long blocks, Tensor upstream, Kept kept, Tensor gradient) {
    int channels = Math.toIntExact(query.size(3));
    kernel(
            "attention/relative_key_sums.cu",
            "relative_key_sums",
            layout,
            "BLOCKS=" + layout.sumBlocks())
        .launch(
            heads() * blocks,
            layout.threads(),
            layout.sumBytes(),
            query,
            contentBias,
            first,
            upstream,
            kept.weights,
            kept.slopes,
            gradient,
            Math.toIntExact(query.size(0)),
            Math.toIntExact(query.size(1)),
            Math.toIntExact(keyValue.size(1) - query.size(1)),
            Math.toIntExact(query.size(2)),
            channels,
            (float) (1 / Math.sqrt(channels)));
    kept.weights.close();
    kept.slopes.close();
  }

  /** Launches the kernel that stays with queries, and returns the gradient of positions. */
  private Tensor distances(
      Layout layout,
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
            "KEPT=" + (kept.weights == null ? 0 : 1));
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

  private CudaKernel kernel(String source, String function, Layout layout, String... own) {
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

  private boolean isAligned(Layout layout) {
    return query.size(3) % layout.vector() == 0 && Launch.aligned(query, keyValue, position);
  }

  private Layout layout() {
    return Layout.of(
        Math.toIntExact(query.size(3)), Tensors.dtype(query) == ScalarType.Float ? 4 : 2);
  }

  /** Samples times heads: each block works for one head of one sample. */
  private long heads() {
    return query.size(0) * query.size(2);
  }

  private long tiles(Layout layout) {
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
