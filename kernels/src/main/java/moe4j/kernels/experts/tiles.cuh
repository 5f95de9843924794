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
#if OP == DW
  int slot;  // of the group's part that this is, or -1 where it is all of the group
#endif
};

struct Plan {
  int* ends;  // of groups, in rows; the other tables lie behind it
  int groups;
  int m;
  int n;
  int k;

  __device__ __forceinline__ int n_tiles() const { return (n + WIDE - 1) / WIDE; }
  // Of a piece.
  __device__ __forceinline__ int each() const {
    return OP == DW ? (m + TALL - 1) / TALL * n_tiles() : n_tiles();
  }
  __device__ __forceinline__ int tiles() const { return pieces()[groups - 1] * each(); }

  // Where groups end in tiles of rows; where those of order() end, in parts.
  __device__ __forceinline__ int* pieces() const { return ends + MOST_GROUPS; }
  // Of warps, while pieces are counted.
  __device__ __forceinline__ int* sums() const { return ends + 2 * MOST_GROUPS; }
#if OP == DW
  // Groups, those with the most rows first: nobody begins a long sum when others are done.
  __device__ __forceinline__ int* order() const { return sums() + THREADS / 32; }
#endif
  __device__ __forceinline__ int first_row(int group) const { return group == 0 ? 0 : ends[group - 1]; }
  __device__ __forceinline__ int rows(int group) const { return ends[group] - first_row(group); }
  __device__ __forceinline__ int pieces_before(int i) const { return i == 0 ? 0 : pieces()[i - 1]; }

  // Into how many pieces a group's rows are cut. most: of which one is summed over at once, or 0 for any number.
  __device__ __forceinline__ int cut(int group, int most) const {
#if OP == DW
    return most > 0 && rows(group) > most ? (rows(group) + most - 1) / most : 1;
#else
    return (rows(group) + TALL - 1) / TALL;
#endif
  }

  // Which group, or place in order, a piece belongs to.
  __device__ __forceinline__ int owner(int piece) const {
    int low = 0, high = groups - 1;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (pieces()[middle] > piece) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  // The tile of a number among those of a group, which has so many rows of tiles: row by row, or, where there are
  // many, column by column of SUPER rows, so that what is worked on at a time needs few different operands.
  __device__ __forceinline__ void place(Tile& r, int number, int rows) const {
    const int n_tiles = this->n_tiles();
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
    const int each = this->each();
    const int piece = t / each;
    const int turn = owner(piece);
    r.group = order()[turn];
    place(r, t - piece * each, (m + TALL - 1) / TALL);
    // Groups that are cut come first, so that their parts are numbered from 0 on.
    const int before = pieces_before(turn);
    const int parts = pieces()[turn] - before;
    const int all = rows(r.group);
    const int blocks = (all + BLOCK_K - 1) / BLOCK_K;
    const int from = (piece - before) * blocks / parts * BLOCK_K;
    r.slot = parts > 1 ? piece : -1;
    r.row = first_row(r.group) + from;
    r.count = min(all, (piece - before + 1) * blocks / parts * BLOCK_K) - from;
    r.k_blocks = (r.count + BLOCK_K - 1) / BLOCK_K;
#else
    r.group = owner(t / n_tiles());
    const int before = pieces_before(r.group);
    place(r, t - before * n_tiles(), pieces()[r.group] - before);
    r.m += first_row(r.group);
    r.row = r.m;
    r.count = min(TALL, ends[r.group] - r.row);
    r.k_blocks = (k + BLOCK_K - 1) / BLOCK_K;
#endif
    return r;
  }
};

// The ends of groups and what tiles are found by, by all threads. most: as of Plan's cut.
__device__ __forceinline__ Plan plan(
    const int* offsets, int groups, int m, int n, int k, int most, int* tables) {
  Plan p;
  p.ends = tables;
  p.groups = groups;
  p.m = m;
  p.n = n;
  p.k = k;
  for (int g = threadIdx.x; g < groups; g += THREADS) tables[g] = offsets[g];
  __syncthreads();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, turn = threadIdx.x;
#if OP == DW
  for (int g = threadIdx.x; g < groups; g += THREADS) {
    const int rows = p.rows(g);
    int larger = 0;
    for (int other = 0; other < groups; other++) {
      const int others = p.rows(other);
      larger += others > rows || (others == rows && other < g);
    }
    p.order()[larger] = g;
  }
  __syncthreads();
  int sum = turn < groups ? p.cut(p.order()[turn], most) : 0;
#else
  int sum = turn < groups ? p.cut(turn, most) : 0;
#endif
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const int before = __shfl_up_sync(0xffffffffu, sum, d);
    if (lane >= d) sum += before;
  }
  if (lane == 31) p.sums()[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; w++) sum += p.sums()[w];
  if (turn < groups) p.pieces()[turn] = sum;
  __syncthreads();
  return p;
}
