// What becomes of a tile's sums: the warps of grouped.cu that neither bring nor multiply. A warp has every seventh four
// rows, a lane eight neighbours of each 64 columns.
#pragma once
#include "activation.cuh"
#include "tiles.cuh"

struct Result {
  const bf16* bias;    // [groups, n], with BIAS
  const float* weight; // [rows]: UP, DUP, DOWN with BIAS
  const bf16* before;  // DUP: what UP has stored in out [rows, n]
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
#if BOXES
  const TensorMap* boxes;  // of out
  const TensorMap* parts;  // of what gradient_parts.cu adds up
#endif
};

#if ACCUMULATE
#include "accumulate.cuh"
#elif BOXES
#include "gradient.cuh"
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

// Eight neighbours: sums, as the product has them, become what is stored. other is before (DUP) and becomes u (UP). Nothing
// depends on whether they are there, so that several are computed side by side.
__device__ __forceinline__ void finish8(const Result& r, long long at, uint4& sums, uint4& other,
    const uint4& bias, float weight, float& total) {
  float x[8], b[8];
  unpack8(sums, x);
  if (BIAS) unpack8(bias, b);
#if OP == UP && ACTIVATION == RELU
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] = activation(BIAS ? x[i] + b[i] : x[i]).value;
  drop(r, at, x);
  sums = pack8(x);
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] *= weight;
  other = pack8(x);
#elif OP == UP
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] = activation(BIAS ? x[i] + b[i] : x[i]).value * weight;
  drop(r, at, x);
  other = pack8(x);
#elif OP == DUP && ACTIVATION == RELU
  float kept[8];
  unpack8(other, kept);
#if DROPOUT
  weight *= r.kept;
#endif
#pragma unroll
  for (int i = 0; i < 8; i++) {
    total = fmaf(x[i], kept[i], total);
    x[i] = kept[i] > 0 ? x[i] * weight : 0.0f;
  }
  sums = pack8(x);
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
  l.there = row < t.count;
  l.at = (long long)(t.m + row) * p.n + column;
  l.weight = (OP == UP || OP == DUP || (OP == DOWN && BIAS)) && l.there ? r.weight[t.m + row] : 1.0f;
  return l;
}

// What a lane needs of h for a row: it is asked for two rows ahead, as memory takes longer than a row.
struct Needs {
  Lane lane;
  uint4 h[STRIPS];
};

// The compiler may not move this towards its use.
__device__ __forceinline__ uint4 load_now(const bf16* p) {
  uint4 v;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(p));
  return v;
}

__device__ __forceinline__ uint4 ask(const Plan& p, const Result& r, const Lane& l, int column, int c) {
  // Beyond the last column sums are 0, and any h does.
  return load_now(r.before + (l.there && column + 64 * c < p.n ? l.at + 64 * c : 0));
}

__device__ __forceinline__ void finish_row(const Plan& p, const Tile& t, const Result& r, int row,
    int column, Needs& needs, const uint4 (&bias)[STRIPS], u32 sums) {
  const int lane = threadIdx.x % 32;
  const Lane l = needs.lane;
  const Lane after = lane_of(p, t, r, row + 8 * FINISHERS, column);
  float total = 0;
#pragma unroll
  for (int c = 0; c < STRIPS; c++) {
    uint4 v = load_shared(sums + c * STRIP + swizzled(row, lane % 8));
    uint4 other = needs.h[c];
    finish8(r, l.at + 64 * c, v, other, bias[c], l.weight, total);
    if (OP == DUP) needs.h[c] = ask(p, r, after, column, c);
    if (l.there && column + 64 * c < p.n) {
      *reinterpret_cast<uint4*>(r.out + l.at + 64 * c) = v;
      if (OP == UP) *reinterpret_cast<uint4*>(r.second + l.at + 64 * c) = other;
    }
  }
#if OP == DUP
#pragma unroll
  for (int d = 1; d < 8; d *= 2) total += __shfl_xor_sync(0xffffffffu, total, d);
  if (lane % 8 == 0 && l.there) {
    r.totals[(long long)(t.n / WIDE) * r.rows + t.m + row] = total;
  }
#endif
  needs.lane = after;
}

// handed: the parity of the barrier that tells of the sums.
__device__ __forceinline__ void finish_tile(const Plan& p, const Tile& t, const Result& r,
    int finisher, u32 base, u32 handed) {
  const int lane = threadIdx.x % 32;
  const int column = t.n + lane % 8 * 8;
  const int rows = min(TALL, t.count);
  uint4 bias[STRIPS];
#pragma unroll
  for (int c = 0; c < STRIPS; c++) {
    bias[c] = BIAS && column + 64 * c < p.n
        ? *reinterpret_cast<const uint4*>(r.bias + (long long)t.group * p.n + column + 64 * c)
        : make_uint4(0, 0, 0, 0);
  }
  Needs even, odd;
  int row = 4 * finisher + lane / 8;
  even.lane = lane_of(p, t, r, row, column);
  odd.lane = lane_of(p, t, r, row + 4 * FINISHERS, column);
#if OP == DUP
#pragma unroll
  for (int c = 0; c < STRIPS; c++) even.h[c] = ask(p, r, even.lane, column, c);
#pragma unroll
  for (int c = 0; c < STRIPS; c++) odd.h[c] = ask(p, r, odd.lane, column, c);
#endif
  if (t.k_blocks > 0) barrier_wait(HANDED, handed);
#pragma unroll 1
  for (int first = 4 * finisher; first < rows; first += 8 * FINISHERS, row += 8 * FINISHERS) {
    finish_row(p, t, r, row, column, even, bias, base + SUMS_AT);
    if (first + 4 * FINISHERS < rows) {
      finish_row(p, t, r, row + 4 * FINISHERS, column, odd, bias, base + SUMS_AT);
    }
  }
}
#endif

__device__ __forceinline__ void finish(const Plan& p, const Result& r, int finisher, u32 base) {
  u32 handed = 0;
#if OP == DW
  float squares = 0;
#endif
  for (int i = blockIdx.x; i < p.tiles(); i += gridDim.x) {
    const Tile t = p.tile(i);
#if ACCUMULATE
    Ahead ahead;
    const Own own = own_of(p, t, r, finisher, ahead);
    if (t.k_blocks > 0) barrier_wait(HANDED, handed);
    add_tile(p, t, r, own, ahead, base + SUMS_AT, squares);
#elif BOXES
    if (t.k_blocks > 0) barrier_wait(HANDED, handed);
    store_tile(p, t, r, finisher, base + SUMS_AT, squares);
#else
    finish_tile(p, t, r, finisher, base, handed);
#endif
    if (t.k_blocks > 0) {
      handed ^= 1;
      __syncwarp();
      release(TAKEN);
    }
  }
#if BOXES
  if (stores_boxes(finisher)) boxes_are_stored();
#endif
#if OP == DW
  squares = warp_sum(squares);
  if (threadIdx.x % 32 == 0) r.totals[blockIdx.x * FINISHERS + finisher] = squares;
#endif
}
