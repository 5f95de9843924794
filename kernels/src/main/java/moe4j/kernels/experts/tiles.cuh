// How grouped products are cut into tiles, and who works on which: every block finds it out by itself.
#pragma once
#include "wgmma.cuh"

#define MOST_GROUPS 512
#define SUPER 16

// Where a warpgroup is in the ring.
struct Ring {
  int stage;
  u32 parity;

  __device__ __forceinline__ void next() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }
};

struct Tile {
  int group;
  int m;      // first row of the result: of all rows, or of the group's matrix
  int n;      // first column
  int row;    // first row of the rows that are read
  int count;  // of rows: the tile's, or those summed over
  int k_blocks;
};

struct Plan {
  const int* ends;       // of groups, in rows
  const int* tile_ends;  // in tiles of rows
  int groups;
  int m;
  int n;
  int k;
  int n_tiles;
  int tiles;

  // The tile of a number among those of a group, which has so many rows of tiles: row by row, or, where there are
  // many, column by column of SUPER rows, so that what is worked on at a time needs few different operands.
  __device__ __forceinline__ void place(Tile& r, int number, int rows) const {
    int row, column;
    if (rows <= SUPER) {
      row = number / n_tiles;
      column = number - row * n_tiles;
    } else {
      const int above = number / (SUPER * n_tiles) * SUPER;
      const int high = min(SUPER, rows - above);
      const int rest = number - above * n_tiles;
      column = rest / high;
      row = above + rest - column * high;
    }
    r.m = row * TILE_ROWS;
    r.n = column * BLOCK_N;
  }

  __device__ __forceinline__ Tile tile(int t) const {
    Tile r;
#if OP == DW
    const int m_tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
    const int each = m_tiles * n_tiles;
    r.group = t / each;
    place(r, t - r.group * each, m_tiles);
    r.row = r.group == 0 ? 0 : ends[r.group - 1];
    r.count = ends[r.group] - r.row;
    r.k_blocks = (r.count + BLOCK_K - 1) / BLOCK_K;
#else
    int low = 0, high = groups - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (tile_ends[middle] * n_tiles > t) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    r.group = low;
    const int first = low == 0 ? 0 : ends[low - 1];
    const int before = low == 0 ? 0 : tile_ends[low - 1];
    place(r, t - before * n_tiles, tile_ends[low] - before);
    r.m += first;
    r.row = r.m;
    r.count = min(TILE_ROWS, ends[low] - r.row);
    r.k_blocks = (k + BLOCK_K - 1) / BLOCK_K;
#endif
    return r;
  }
};

// The ends of groups and of their tiles, by all threads.
__device__ __forceinline__ Plan plan(
    const int* offsets, int groups, int m, int n, int k, int* tables) {
  int* ends = tables;
  int* tile_ends = tables + MOST_GROUPS;
  int* sums = tables + 2 * MOST_GROUPS;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int both = 0, first = 0;
  const int e = 2 * threadIdx.x;
  if (e < MOST_GROUPS) {
    const int start = e == 0 || e > groups ? 0 : offsets[e - 1];
    const int middle = e < groups ? offsets[e] : start;
    const int end = e + 1 < groups ? offsets[e + 1] : middle;
    ends[e] = middle;
    ends[e + 1] = end;
    first = (middle - start + TILE_ROWS - 1) / TILE_ROWS;
    both = first + (end - middle + TILE_ROWS - 1) / TILE_ROWS;
  }
  int sum = both;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, sum, d);
    if (lane >= d) sum += other;
  }
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  if (e < MOST_GROUPS) {
    for (int w = 0; w < warp; w++) sum += sums[w];
    tile_ends[e] = sum - both + first;
    tile_ends[e + 1] = sum;
  }
  __syncthreads();
  Plan p;
  p.ends = ends;
  p.tile_ends = tile_ends;
  p.groups = groups;
  p.m = m;
  p.n = n;
  p.k = k;
  p.n_tiles = (n + BLOCK_N - 1) / BLOCK_N;
#if OP == DW
  p.tiles = groups * ((m + TILE_ROWS - 1) / TILE_ROWS) * p.n_tiles;
#else
  p.tiles = tile_ends[groups - 1] * p.n_tiles;
#endif
  return p;
}
