package moe4j.kernels.experts;

/**
 * How {@code grouped.cu} cuts a product into tiles. Its left operand gives a tile {@link #LEFT}
 * rows, and its right one as many columns as there is room for beside enough stages: of what
 * experts' rows are multiplied with, the rows themselves, else a weight's gradient's columns.
 *
 * @param right how many columns
 * @param stages of the ring of operands
 */
record ProductCut(int right, int stages) {
  /** What the left operand gives a tile. */
  static final int LEFT = 128;

  /** What the kernel keeps in shared memory beside operands and sums: tables, and its alignment. */
  private static final int TABLES = 4 * (3 * 512 + 16) + 1024;

  /** Terms of a stage. */
  static final int TERMS = 64;

  /** A group of so many rows is never cut. */
  static final long LEAST_ROWS = 512;

  private static final ProductCut LOW = new ProductCut(128, 5);
  private static final ProductCut HIGH = new ProductCut(192, 4);
  private static final ProductCut WIDE = new ProductCut(256, 3);

  /**
   * The cut of a product that has the experts' rows on its right: a tile of few more than an expert
   * has in the mean reads its weights once, and leaves room for stages.
   */
  static ProductCut ofRows(long rows, long groups) {
    // Some experts have more than the mean.
    return 10 * rows <= 9 * groups * LOW.right ? LOW : HIGH;
  }

  /** The cut of a weight's gradient that multiplies the fewest columns beyond n. */
  static ProductCut ofColumns(long n) {
    if (n <= LOW.right) {
      return LOW;
    }
    return WIDE.columns(n) < HIGH.columns(n) ? WIDE : HIGH;
  }

  /** The columns of all tiles of n. */
  private long columns(long n) {
    return (n + right - 1) / right * right;
  }

  /** How many tiles there are of n of the left operand's. */
  static long leftTiles(long n) {
    return (n + LEFT - 1) / LEFT;
  }

  /**
   * Of how many rows a weight's gradient is summed over at once: of groups with more several blocks
   * sum over a part each, as otherwise all would wait for those that have such a group's tiles. A
   * part is a quarter of what a block has to do in all, but not so little that adding parts up
   * costs more.
   *
   * @param rows of all groups
   * @param m the gradient's rows
   * @param n its columns
   * @param blocks among which all tiles are divided
   * @return a multiple of {@link #TERMS}, or 0 where no group can have more
   */
  int mostRows(long rows, long m, long n, int blocks) {
    long tiles = leftTiles(m) * (columns(n) / right);
    long most = Math.max(LEAST_ROWS, rows * tiles / (4L * blocks) / TERMS * TERMS);
    return most < rows ? Math.toIntExact(most) : 0;
  }

  /** How many parts there are at most, each of two or more of its group. */
  static long mostParts(long rows, long most) {
    return 2 * rows / most;
  }

  int sharedBytes() {
    return stages * (LEFT + right) * 128 + LEFT * right * 2 + 16 * stages + 16 + TABLES;
  }
}
