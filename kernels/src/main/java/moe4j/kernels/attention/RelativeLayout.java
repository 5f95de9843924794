package moe4j.kernels.attention;

import moe4j.kernels.cuda.Cuda;

/**
 * How {@link RelativeAttentionKernel} cuts a block's tile: so many keys, and 16 queries for each of
 * so many warps.
 *
 * @param head a head's channels, a multiple of 16
 * @param elementBytes of an element
 * @param keys of a tile
 * @param warps of a block
 */
record RelativeLayout(int head, int elementBytes, int keys, int warps) {
  /** From the fastest to the smallest. */
  private static final int[][] TILES = {{64, 4}, {32, 4}, {32, 2}, {16, 1}};

  /** The first whose kernels the GPU's shared memory holds. */
  static RelativeLayout of(int channels, int elementBytes) {
    int head = (channels + 15) / 16 * 16;
    RelativeLayout layout = null;
    for (int[] tile : TILES) {
      layout = new RelativeLayout(head, elementBytes, tile[0], tile[1]);
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
  int vector() {
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
    return 4 * rows() * row(head) + 2 * rows() * Float.BYTES;
  }

  /** Blocks of sums on a multiprocessor that registers are enough for. */
  int sumBlocks() {
    return head <= 64 ? 4 : 1;
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
