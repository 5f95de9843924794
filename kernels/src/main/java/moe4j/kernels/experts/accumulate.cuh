// A tile of a weight's gradient that is added to the fp32 sum of those of other micro-batches, where that lies: what
// finish.cuh does with it otherwise. A warp has every seventh two rows, a lane four neighbours of each 64 columns.
// What is added to is on its way some rows ahead, for the first rows before their product is there.
#pragma once
#include "tiles.cuh"

// Rows of a tile from one of a lane's rows to its next.
#define STEP (2 * FINISHERS)
// Rows of a lane that are on their way, each of STRIPS times four registers.
#define AHEAD (BLOCK_N == 256 ? 2 : 3)

struct Ahead {
  float4 of[AHEAD][STRIPS];
};

// A lane's part of a tile.
struct Own {
  float* to;    // of its first row
  int row;      // that one's, in the tile
  int rows;     // the tile's
  int columns;  // from the lane's first to the matrix's last
};

__device__ __forceinline__ bool has(const Own& own, int step, int strip) {
  return own.row + step * STEP < own.rows && 64 * strip < own.columns;
}

__device__ __forceinline__ float4* place(const Own& own, int n, int step, int strip) {
  return reinterpret_cast<float4*>(own.to + (long long)step * STEP * n + 64 * strip);
}

__device__ __forceinline__ void fetch(
    float4 (&sums)[STRIPS], const Own& own, int n, int step, bool wanted) {
#pragma unroll
  for (int c = 0; c < STRIPS; c++) {
    sums[c] = wanted && has(own, step, c) ? *place(own, n, step, c) : make_float4(0, 0, 0, 0);
  }
}

__device__ __forceinline__ Own own_of(
    const Plan& p, const Tile& t, const Result& r, int finisher, Ahead& ahead) {
  const int lane = threadIdx.x % 32, column = t.n + lane % 16 * 4;
  Own own;
  own.row = 2 * finisher + lane / 16;
  own.rows = min(TILE_ROWS, p.m - t.m);
  own.columns = p.n - column;
  own.to = r.out + ((long long)t.group * p.m + t.m + own.row) * p.n + column;
#pragma unroll
  for (int j = 0; j < AHEAD; j++) fetch(ahead.of[j], own, p.n, j, r.add);
  return own;
}

__device__ __forceinline__ uint2 load_shared8(u32 address) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address) : "memory");
  return v;
}

// Four neighbours of a product are added, if it has terms: a group without rows adds nothing, but its sum's squares
// count, and what comes first is stored also there.
__device__ __forceinline__ void add4(
    const Own& own, int n, int step, int strip, float4 x, u32 sums, bool any, bool first, float& squares) {
  if (!has(own, step, strip)) return;
  if (any) {
    const int piece = threadIdx.x % 16;
    const uint2 v = load_shared8(
        sums + strip * STRIP + swizzled(own.row + step * STEP, piece / 2) + piece % 2 * 8);
    const float4 y = make_float4(__uint_as_float(v.x << 16), __uint_as_float(v.x & 0xffff0000u),
        __uint_as_float(v.y << 16), __uint_as_float(v.y & 0xffff0000u));
    x = first ? y : make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
  }
  if (any || first) *place(own, n, step, strip) = x;
  squares = fmaf(x.x, x.x, fmaf(x.y, x.y, fmaf(x.z, x.z, fmaf(x.w, x.w, squares))));
}

__device__ __forceinline__ void add_tile(const Plan& p, const Tile& t, const Result& r,
    const Own& own, Ahead& ahead, u32 sums, float& squares) {
#pragma unroll 1
  for (int first = 0; own.row + first * STEP < own.rows; first += AHEAD) {
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
#pragma unroll
      for (int c = 0; c < STRIPS; c++) {
        add4(own, p.n, first + j, c, ahead.of[j][c], sums, t.k_blocks > 0, !r.add, squares);
      }
      fetch(ahead.of[j], own, p.n, first + j + AHEAD, r.add);
    }
  }
}
