package moe4j.kernels.cuda;

/**
 * A grid over rows of columns for kernels that keep something by the column: a block has {@link
 * #WARPS} warps, each on a row of its own, a lane on {@code width} columns.
 *
 * @param width 8 columns in one access, or 1
 * @param columnBlocks how many blocks share a row
 * @param chunks how many blocks share a column
 */
public record Tiles(int width, int columnBlocks, int chunks) {
  /** Warps of a block: {@code TILE_WARPS} in {@code tile.cuh}. */
  private static final int WARPS = 8;

  /**
   * Blocks for each multiprocessor: twice what it holds at once, so that early ones are followed.
   */
  private static final int BLOCKS = 8;

  /**
   * The grid.
   *
   * @param aligned whether the columns can be accessed eight at a time
   */
  public static Tiles over(long rows, long columns, boolean aligned) {
    int width = aligned ? 8 : 1;
    long lanes = 32L * width;
    int columnBlocks = Math.toIntExact((columns + lanes - 1) / lanes);
    long steps = Math.max(1, (rows + WARPS - 1) / WARPS);
    long wanted = Math.max(1, (long) Cuda.multiprocessors() * BLOCKS / columnBlocks);
    return new Tiles(width, columnBlocks, (int) Math.min(steps, wanted));
  }

  /** The blocks of the whole grid. */
  public long blocks() {
    return (long) columnBlocks * chunks;
  }

  /** The threads of a block. */
  public int threads() {
    return 32 * WARPS;
  }

  /** The define that tells {@code tile.cuh} the width. */
  public String define() {
    return "WIDTH=" + width;
  }
}
