// What becomes of a tile's sums: the warps of grouped.cu that neither bring nor multiply. A warp has every seventh four
// rows, a lane eight neighbours of each 64 columns.
#pragma once
#include "activation.cuh"
#include "tiles.cuh"

#define STRIPS (BLOCK_N / 64)

struct Result {
  const bf16* bias;    // [groups, n], with BIAS
  const float* weight; // [rows]: UP, DUP, DOWN with BIAS
  const bf16* before;  // DUP: h [rows, n]
  Stored* out;         // [rows, n], or [groups, m, n]
  bf16* second;        // UP: u [rows, n]
  float* totals;       // DUP: [n_tiles, rows]; DW: [blocks, FINISHERS]
  int rows;            // of totals
#if DROPOUT
  Draws draws;
  u32 least;  // draws of at least this keep their element, times
  float kept;
#endif
#if ACCUMULATE
  bool add;  // to what out holds; otherwise that is anything
#endif
};

#if ACCUMULATE
#include "accumulate.cuh"
#else

__device__ __forceinline__ void unpack8(const uint4& v, float (&x)[8]) {
  const u32 w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    x[2 * i] = __uint_as_float(w[i] << 16);
    x[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
  }
}

__device__ __forceinline__ uint4 pack8(const float (&x)[8]) {
  return make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7]));
}

__device__ __forceinline__ Slope activation(float x) {
#if ACTIVATION == GELU
  return gelu_of_bf16(x);
#else
  Slope r;
  r.value = x <= 0 ? 0.0f : x;
  r.slope = x <= 0 ? 0.0f : 1.0f;
  return r;
#endif
}

// What dropout multiplies eight neighbours by; at is the first one's place in [rows, n].
__device__ __forceinline__ void drop(const Result& r, long long at, float (&x)[8]) {
#if DROPOUT
  const u64 block = index_of(r.draws, (u64)at) >> 2;
#pragma unroll
  for (int k = 0; k < 2; k++) {
    const uint4 four = philox(r.draws.key, block + k, r.draws.stream);
    x[4 * k] *= (four.x >> 8) >= r.least ? r.kept : 0.0f;
    x[4 * k + 1] *= (four.y >> 8) >= r.least ? r.kept : 0.0f;
    x[4 * k + 2] *= (four.z >> 8) >= r.least ? r.kept : 0.0f;
    x[4 * k + 3] *= (four.w >> 8) >= r.least ? r.kept : 0.0f;
  }
#endif
}

// Eight neighbours: sums, as the product has them, become what is stored. other is h (DUP) and becomes u (UP). Nothing
// depends on whether they are there, so that several are computed side by side.
__device__ __forceinline__ void finish8(const Result& r, long long at, uint4& sums, uint4& other,
    const uint4& bias, float weight, float& total) {
  float x[8], b[8];
  unpack8(sums, x);
  if (BIAS) unpack8(bias, b);
#if OP == UP
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] = activation(BIAS ? x[i] + b[i] : x[i]).value * weight;
  drop(r, at, x);
  other = pack8(x);
#elif OP == DUP
  float h[8];
  unpack8(other, h);
  drop(r, at, x);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const Slope s = activation(BIAS ? h[i] + b[i] : h[i]);
    total = fmaf(x[i], s.value, total);
    x[i] = x[i] * s.slope * weight;
  }
  sums = pack8(x);
#elif OP == DOWN && BIAS
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] = fmaf(weight, b[i], x[i]);
  sums = pack8(x);
#elif OP == DW
#pragma unroll
  for (int i = 0; i < 8; i++) total = fmaf(x[i], x[i], total);
#endif
}

// A lane's part of a row.
struct Lane {
  bool there;
  long long at;
  float weight;
};

__device__ __forceinline__ Lane lane_of(
    const Plan& p, const Tile& t, const Result& r, int row, int column) {
  Lane l;
#if OP == DW
  l.there = t.m + row < p.m;
  l.at = ((long long)t.group * p.m + t.m + row) * p.n + column;
#else
  l.there = row < t.count;
  l.at = (long long)(t.m + row) * p.n + column;
#endif
  l.weight = (OP == UP || OP == DUP || (OP == DOWN && BIAS)) && l.there ? r.weight[t.m + row] : 1.0f;
  return l;
}

__device__ __forceinline__ void fetch(
    uint4 (&h)[STRIPS], const Plan& p, const Result& r, const Lane& l, int column) {
#pragma unroll
  for (int c = 0; c < STRIPS; c++) {
    h[c] = OP == DUP && l.there && column + 64 * c < p.n
        ? *reinterpret_cast<const uint4*>(r.before + l.at + 64 * c) : make_uint4(0, 0, 0, 0);
  }
}

__device__ __forceinline__ void finish_tile(
    const Plan& p, const Tile& t, const Result& r, int finisher, u32 sums, float& squares) {
  const int lane = threadIdx.x % 32;
  const int column = t.n + lane % 8 * 8;
  const int rows = min(TILE_ROWS, OP == DW ? p.m - t.m : t.count);
  uint4 bias[STRIPS];
#pragma unroll
  for (int c = 0; c < STRIPS; c++) {
    bias[c] = BIAS && column + 64 * c < p.n
        ? *reinterpret_cast<const uint4*>(r.bias + (long long)t.group * p.n + column + 64 * c)
        : make_uint4(0, 0, 0, 0);
  }
  int row = 4 * finisher + lane / 8;
  Lane l = lane_of(p, t, r, row, column);
  uint4 other[STRIPS];
  fetch(other, p, r, l, column);
#pragma unroll 1
  for (int first = 4 * finisher; first < rows; first += 4 * FINISHERS) {
    uint4 v[STRIPS], next[STRIPS];
    const Lane after = lane_of(p, t, r, row + 4 * FINISHERS, column);
    if (OP == DUP) fetch(next, p, r, after, column);
#pragma unroll
    for (int c = 0; c < STRIPS; c++) {
      v[c] = OP == DW && t.k_blocks == 0 ? make_uint4(0, 0, 0, 0)
          : load_shared(sums + c * STRIP + swizzled(row, lane % 8));
    }
    float total = 0;
#pragma unroll
    for (int c = 0; c < STRIPS; c++) {
      finish8(r, l.at + 64 * c, v[c], other[c], bias[c], l.weight, total);
    }
#pragma unroll
    for (int c = 0; c < STRIPS; c++) {
      if (l.there && column + 64 * c < p.n) {
        *reinterpret_cast<uint4*>(r.out + l.at + 64 * c) = v[c];
        if (OP == UP) *reinterpret_cast<uint4*>(r.second + l.at + 64 * c) = other[c];
      }
    }
#if OP == DUP
#pragma unroll
    for (int d = 1; d < 8; d *= 2) total += __shfl_xor_sync(0xffffffffu, total, d);
    if (lane % 8 == 0 && l.there) {
      r.totals[(long long)(t.n / BLOCK_N) * r.rows + t.m + row] = total;
    }
#elif OP == DW
    if (l.there) squares += total;
#endif
    row += 4 * FINISHERS;
    l = after;
    if (OP == DUP) {
#pragma unroll
      for (int c = 0; c < STRIPS; c++) other[c] = next[c];
    }
  }
}
#endif

__device__ __forceinline__ void finish(const Plan& p, const Result& r, int finisher, u32 base) {
  u32 handed = 0;
  float squares = 0;
  for (int i = blockIdx.x; i < p.tiles; i += gridDim.x) {
    const Tile t = p.tile(i);
#if ACCUMULATE
    Ahead ahead;
    const Own own = own_of(p, t, r, finisher, ahead);
#endif
    if (t.k_blocks > 0) {
      barrier_wait(HANDED, handed);
      handed ^= 1;
    }
#if ACCUMULATE
    add_tile(p, t, r, own, ahead, base + SUMS_AT, squares);
#else
    finish_tile(p, t, r, finisher, base + SUMS_AT, squares);
#endif
    if (t.k_blocks > 0) {
      __syncwarp();
      release(TAKEN);
    }
  }
#if OP == DW
  squares = warp_sum(squares);
  if (threadIdx.x % 32 == 0) r.totals[blockIdx.x * FINISHERS + finisher] = squares;
#endif
}
