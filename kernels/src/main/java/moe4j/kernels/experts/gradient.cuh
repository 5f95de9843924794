// A tile of a weight's gradient, which the copy engine stores as it is, while the warps add up its squares: what
// finish.cuh does with it otherwise. A warp has every seventh four rows, a lane eight neighbours of each 64 columns.
#pragma once
#include "tiles.cuh"

// Whether this thread has the engine store tiles, and waits for it.
__device__ __forceinline__ bool stores_boxes(int finisher) {
  return finisher == 0 && threadIdx.x % 32 == 0;
}

// The engine leaves out what lies beyond the group's matrix.
__device__ __forceinline__ void store_boxes(const Plan& p, const Tile& t, const Result& r, u32 sums) {
#pragma unroll
  for (int c = 0; c < STRIPS; c++) {
    if (t.n + 64 * c < p.n) {
      box_store(t.slot < 0 ? *r.boxes : *r.parts, sums + c * STRIP, t.n + 64 * c, t.m,
          t.slot < 0 ? t.group : t.slot);
    }
  }
  stores_are_a_group();
}

__device__ __forceinline__ void add_squares(const uint4& v, float& total) {
  const u32 w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float low = __uint_as_float(w[i] << 16), high = __uint_as_float(w[i] & 0xffff0000u);
    total = fmaf(high, high, fmaf(low, low, total));
  }
}

// A group without rows was handed over by nobody, and is zeros.
__device__ __forceinline__ void store_zeros(const Plan& p, const Tile& t, const Result& r, int row, int rows) {
  const int column = t.n + threadIdx.x % 8 * 8;
  for (; row < rows; row += 4 * FINISHERS) {
    bf16* to = r.out + ((long long)t.group * p.m + t.m + row) * p.n + column;
#pragma unroll
    for (int c = 0; c < STRIPS; c++) {
      if (column + 64 * c < p.n) *reinterpret_cast<uint4*>(to + 64 * c) = make_uint4(0, 0, 0, 0);
    }
  }
}

// The engine and the warp read the sums side by side; neither needs them any more when the warp gives them back.
__device__ __forceinline__ void store_tile(const Plan& p, const Tile& t, const Result& r,
    int finisher, u32 sums, float& squares) {
  const int lane = threadIdx.x % 32;
  const int rows = min(TALL, p.m - t.m);
  int row = 4 * finisher + lane / 8;
  if (t.k_blocks == 0) {
    store_zeros(p, t, r, row, rows);
    return;
  }
  if (stores_boxes(finisher)) store_boxes(p, t, r, sums);
  // Squares of parts are not those of their sum: gradient_parts.cu has these.
  for (; t.slot < 0 && row < rows; row += 4 * FINISHERS) {
    float total = 0;
#pragma unroll
    for (int c = 0; c < STRIPS; c++) {
      add_squares(load_shared(sums + c * STRIP + swizzled(row, lane % 8)), total);
    }
    squares += total;
  }
  if (stores_boxes(finisher)) stores_have_read<0>();
}
