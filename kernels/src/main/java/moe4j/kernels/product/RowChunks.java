package moe4j.kernels.product;

import moe4j.kernels.cuda.Launch;
import moe4j.kernels.cuda.Tiles;
import moe4j.tensor.Tensors;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A grid over rows in consecutive groups, for kernels that keep something by group and column
 * ({@code groups.cuh}): a block has neighbouring rows, of whatever groups they are, so that blocks
 * have equally much to do however the groups' sizes differ, and where groups end only the device
 * has to know. Sums over a group's rows are in fp32 and in a fixed order.
 *
 * @param tiles how columns are divided; its chunks are the most there may be
 * @param rows R
 * @param columns n
 * @param groups G, or 1 where the rows are in no groups
 * @param chunkRows the rows of a block
 */
@SuppressWarnings("exports") // Tiles are for our own kernels alone.
public record RowChunks(Tiles tiles, long rows, int columns, int groups, int chunkRows) {
  /** Warps of a block, each on a row of its own, as in {@code tile.cuh}. */
  private static final int WARPS = 8;

  /** Columns of a block of {@code group_finish}, and rows. */
  private static final int FINISH_COLUMNS = 32;

  private static final int FINISH_ROWS = 32 * WARPS;

  /**
   * The grid.
   *
   * @param offsets int32 [G], or null
   * @param aligned whether the columns can be accessed eight at a time
   */
  public static RowChunks over(long rows, long columns, Tensor offsets, boolean aligned) {
    Tiles tiles = Tiles.over(rows, columns, aligned);
    long steps = (rows + WARPS - 1) / WARPS;
    long each = Math.max(1, (steps + tiles.chunks() - 1) / tiles.chunks());
    return new RowChunks(
        tiles,
        rows,
        Math.toIntExact(columns),
        offsets == null ? 1 : Math.toIntExact(offsets.numel()),
        Math.toIntExact(each * WARPS));
  }

  private long chunks() {
    return (rows + chunkRows - 1) / chunkRows;
  }

  /** The blocks of the whole grid. */
  public long blocks() {
    return chunks() * tiles.columnBlocks();
  }

  /** The threads of a block. */
  public int threads() {
    return tiles.threads();
  }

  /** The define that tells {@code groups.cuh} the width. */
  public String define() {
    return tiles.define();
  }

  /** Memory for the sums that blocks leave by chunk and group. */
  public Tensor partials(Tensor like) {
    return ColumnSum.partials(like, chunks() + groups - 1, columns);
  }

  /** Memory for the parts that blocks leave of sums over a row's columns. */
  public Tensor dots(Tensor like) {
    return Tensors.empty(ScalarType.Float, like.device(), tiles.columnBlocks(), rows);
  }

  /**
   * Adds up what blocks have left: the groups' sums and the rows'.
   *
   * @param partials or null
   * @param sums [G, n], or null; gets those of the partials
   * @param dots fp32 [.., R], or null
   * @param rowSums [R], or null; gets those of the dots, and zeros after the last group
   */
  public void finish(Tensor offsets, Tensor partials, Tensor sums, Tensor dots, Tensor rowSums) {
    if (sums == null && rowSums == null) {
      return;
    }
    int sumBlocks =
        partials == null
            ? 0
            : Math.multiplyExact(groups, (columns + FINISH_COLUMNS - 1) / FINISH_COLUMNS);
    long rowBlocks = dots == null ? 0 : (rows + FINISH_ROWS - 1) / FINISH_ROWS;
    ScalarType type = Tensors.dtype(sums == null ? rowSums : sums);
    ScalarType weight = Tensors.dtype(rowSums == null ? sums : rowSums);
    Launch.kernel("product/groups.cu", "group_finish", type, "WEIGHT=" + Launch.name(weight))
        .launch(
            sumBlocks + rowBlocks,
            FINISH_ROWS,
            0,
            partials,
            offsets,
            sums,
            dots,
            rowSums,
            rows,
            columns,
            groups,
            chunkRows,
            dots == null ? 0 : Math.toIntExact(dots.size(0)),
            sumBlocks);
  }
}
