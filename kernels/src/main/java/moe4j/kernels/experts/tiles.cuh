// How grouped products are cut into tiles, and who works on which: every block finds it out by itself.
#pragma once
#include "wgmma.cuh"

// As many as a block has threads.
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
#if OP == DW
  const int* order;  // groups, those with the most rows first: nobody begins a long sum when others are done
#else
  const int* tile_ends;  // in tiles of rows
#endif
  int groups;
  int m;
  int n;
  int k;
  int n_tiles;
  int tiles;

  __device__ __forceinline__ int rows(int group) const {
    return ends[group] - (group == 0 ? 0 : ends[group - 1]);
  }

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
    r.m = row * TALL;
    r.n = column * WIDE;
  }

  __device__ __forceinline__ Tile tile(int t) const {
    Tile r;
#if OP == DW
    const int m_tiles = (m + TALL - 1) / TALL;
    const int each = m_tiles * n_tiles;
    const int turn = t / each;
    r.group = order[turn];
    place(r, t - turn * each, m_tiles);
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
    r.count = min(TALL, ends[low] - r.row);
    r.k_blocks = (k + BLOCK_K - 1) / BLOCK_K;
#endif
    return r;
  }
};

// The ends of groups and what tiles are found by, by all threads.
__device__ __forceinline__ Plan plan(
    const int* offsets, int groups, int m, int n, int k, int* tables) {
  Plan p;
  p.ends = tables;
  p.groups = groups;
  p.m = m;
  p.n = n;
  p.k = k;
  p.n_tiles = (n + WIDE - 1) / WIDE;
  int* second = tables + MOST_GROUPS;
  for (int g = threadIdx.x; g < groups; g += THREADS) tables[g] = offsets[g];
  __syncthreads();
#if OP == DW
  for (int g = threadIdx.x; g < groups; g += THREADS) {
    const int rows = p.rows(g);
    int larger = 0;
    for (int other = 0; other < groups; other++) {
      const int others = p.rows(other);
      larger += others > rows || (others == rows && other < g);
    }
    second[larger] = g;
  }
  p.order = second;
  p.tiles = groups * ((m + TALL - 1) / TALL) * p.n_tiles;
#else
  int* sums = tables + 2 * MOST_GROUPS;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = threadIdx.x;
  int sum = g < groups ? (p.rows(g) + TALL - 1) / TALL : 0;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const int before = __shfl_up_sync(0xffffffffu, sum, d);
    if (lane >= d) sum += before;
  }
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; w++) sum += sums[w];
  if (g < groups) second[g] = sum;
  p.tile_ends = second;
#endif
  __syncthreads();
#if OP != DW
  p.tiles = second[groups - 1] * p.n_tiles;
#endif
  return p;
}
