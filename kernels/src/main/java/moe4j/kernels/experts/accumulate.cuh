// A tile of a weight's gradient that is added to the fp32 sum of those of other micro-batches, where that lies: what
// finish.cuh does with it otherwise. A warp has every seventh two rows, a lane four neighbours of each 64 columns.
// What is added to is on its way some rows ahead, for the first rows before their product is there.
#pragma once
#include "tiles.cuh"

// Rows of a tile from one of a lane's rows to its next.
#define STEP (2 * FINISHERS)
// Rows of a lane that are on their way: 48 registers in all, and with 64 some would be spilled.
#define AHEAD (12 / STRIPS)

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

// A row of a lane's, from memory; zeros where there is none.
__device__ __forceinline__ void fetch(
    float4 (&sums)[STRIPS], const float* from, int columns, bool there) {
#pragma unroll
  for (int c = 0; c < STRIPS; c++) {
    sums[c] = there && 64 * c < columns ? *reinterpret_cast<const float4*>(from + 64 * c)
                                        : make_float4(0, 0, 0, 0);
  }
}

__device__ __forceinline__ Own own_of(
    const Plan& p, const Tile& t, const Result& r, int finisher, Ahead& ahead) {
  const int lane = threadIdx.x % 32, column = t.n + lane % 16 * 4;
  Own own;
  own.row = 2 * finisher + lane / 16;
  own.rows = min(TALL, p.m - t.m);
  own.columns = p.n - column;
  own.to = r.out + ((long long)t.group * p.m + t.m + own.row) * p.n + column;
#pragma unroll
  for (int j = 0; j < AHEAD; j++) {
    fetch(ahead.of[j], own.to + (long long)j * STEP * p.n, own.columns,
        r.add && own.row + j * STEP < own.rows);
  }
  return own;
}

__device__ __forceinline__ uint2 load_shared8(u32 address) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address) : "memory");
  return v;
}

// x, or what it is when a product's four neighbours are added; what comes first is the product alone.
__device__ __forceinline__ void add4(float4& x, u32 product, bool first) {
  const uint2 v = load_shared8(product);
  const float4 y = make_float4(__uint_as_float(v.x << 16), __uint_as_float(v.x & 0xffff0000u),
      __uint_as_float(v.y << 16), __uint_as_float(v.y & 0xffff0000u));
  x = first ? y : make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
}

// A group without rows adds nothing, but its sums' squares count, and what comes first is stored there, too: zeros.
__device__ __forceinline__ void add_tile(const Plan& p, const Tile& t, const Result& r,
    const Own& own, Ahead& ahead, u32 sums, float& squares) {
  const bool any = t.k_blocks > 0;
  const u32 piece = threadIdx.x % 16;
  const long long step = (long long)STEP * p.n;
  float* to = own.to;
  int row = own.row;
  while (row < own.rows) {
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const u32 product = sums + swizzled(row, piece / 2) + piece % 2 * 8;
#pragma unroll
      for (int c = 0; c < STRIPS; c++) {
        if (row < own.rows && 64 * c < own.columns) {
          float4 x = ahead.of[j][c];
          if (any) add4(x, product + c * STRIP, !r.add);
          if (any || !r.add) *reinterpret_cast<float4*>(to + 64 * c) = x;
          squares = fmaf(x.x, x.x, fmaf(x.y, x.y, fmaf(x.z, x.z, fmaf(x.w, x.w, squares))));
        }
      }
      fetch(ahead.of[j], to + AHEAD * step, own.columns, r.add && row + AHEAD * STEP < own.rows);
      to += step;
      row += STEP;
    }
  }
}
