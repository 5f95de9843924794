// A bias, ReLU, dropout and a weight of the row between two projections, and their gradients with the
// bias's and the weight's (ReluDropout.java). The bias is one for all rows, or one a group.
#include "groups.cuh"

// compile: -DTYPE=bf16 -DWIDTH=8 -DWEIGHTED=1 -DDROP=1
// compile: -DTYPE=bf16 -DWIDTH=8 -DWEIGHTED=1 -DDROP=1 -DPART=1 -DWEIGHT=bf16
// compile: -DTYPE=bf16 -DWIDTH=8 -DWEIGHTED=0 -DDROP=1
// compile: -DTYPE=float -DWIDTH=8 -DWEIGHTED=1 -DDROP=1
// compile: -DTYPE=float -DWIDTH=8 -DWEIGHTED=0 -DDROP=0
// compile: -DTYPE=float -DWIDTH=1 -DWEIGHTED=1 -DDROP=1 -DPART=1
// compile: -DTYPE=bf16 -DWIDTH=1 -DWEIGHTED=0 -DDROP=0
// DROP: whether there is dropout, and PART (common.cuh) whether of some of the elements alone. WIDTH is 8
// only where eight neighbours have two whole blocks of draws, too.
#ifndef DROP
#define DROP 1
#endif

// Rows whose loads are under way together; draws are long enough to hide the rest.
#define FORWARD_ROWS (DROP ? 2 : 4)
#define BACKWARD_ROWS 2

// Where draws come from, and from which number on one keeps its element: u >= p for the fp32 u = n 2^-24
// is n >= p 2^24, where nothing has to be converted.
struct Keep {
  Draws draws;
  u32 least;
  float kept;
};

__device__ __forceinline__ float factor(const Keep& k, u32 draw) {
  return (draw >> 8) >= k.least ? k.kept : 0.0f;
}

// What the elements from i on are multiplied by.
__device__ __forceinline__ void factors(const Keep& k, u64 i, float (&by)[8]) {
  const u64 block = index_of(k.draws, i) >> 2;
#pragma unroll
  for (int j = 0; j < 2; j++) {
    const uint4 four = philox(k.draws.key, block + j, k.draws.stream);
    by[4 * j] = factor(k, four.x);
    by[4 * j + 1] = factor(k, four.y);
    by[4 * j + 2] = factor(k, four.z);
    by[4 * j + 3] = factor(k, four.w);
  }
}

__device__ __forceinline__ void factors(const Keep& k, u64 i, float (&by)[1]) {
  const u64 index = index_of(k.draws, i);
  const uint4 four = philox(k.draws.key, index >> 2, k.draws.stream);
  const u32 lane = (u32)index & 3;
  by[0] = factor(k, lane == 0 ? four.x : lane == 1 ? four.y : lane == 2 ? four.z : four.w);
}

// max(x, 0), which keeps a NaN.
__device__ __forceinline__ float relu(float x) { return x <= 0 ? 0.0f : x; }

// The bias of a segment's rows, zeros where the rows have no bias.
__device__ __forceinline__ void load_bias(
    const T* bias, const Strip& at, const Segment& s, int f, float (&b)[WIDTH]) {
#pragma unroll
  for (int i = 0; i < WIDTH; i++) b[i] = 0;
  if (bias) load(bias + (long long)s.group * f + at.column, b);
}

// Zeros for the rows after the last group.
__device__ __forceinline__ void clear(T* y, const Strip& at, const Segment& s, int f) {
  if (!at.there) return;
  const float zeros[WIDTH] = {};
  EACH_ROWS(row, s, 1) store(y + element(at, row, f), zeros);
}

#if DROP
#define KEEP \
  const Keep keep = {draws_of(key, position, run, stride, offset, layer, operation), \
      (u32)ceilf(p * 0x1p24f), to_float(from_float<T>(scale))};
#else
#define KEEP
#endif

// y[r] = weight[r] dropout(relu(x[r] + bias[g])); scale is rounded to the type first, as elsewhere.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 4) relu_forward(
    const T* __restrict__ x, const T* __restrict__ bias, const int* __restrict__ offsets,
    const WEIGHT* __restrict__ weight, T* __restrict__ y, long long rows, int f, int groups,
    int chunk_rows, int column_blocks, u64 key, const long long* position, long long run,
    long long stride, long long offset, int layer, int operation, float p, float scale) {
  const Strip at = strip(rows, f, chunk_rows, column_blocks);
  if (!at.there) return;
  KEEP
  EACH_SEGMENT(s, at, offsets, groups) {
    if (s.group >= groups) {
      clear(y, at, s, f);
      break;
    }
    float b[WIDTH];
    load_bias(bias, at, s, f, b);
    EACH_ROWS(first, s, FORWARD_ROWS) {
      float v[FORWARD_ROWS][WIDTH], w[FORWARD_ROWS];
#pragma unroll
      for (int k = 0; k < FORWARD_ROWS; k++) {
        const int row = row_of(first, k, s);
        load(x + element(at, row, f), v[k]);
        w[k] = weight_of(weight, at, row);
      }
#pragma unroll
      for (int k = 0; k < FORWARD_ROWS; k++) {
        const int row = first + k * TILE_WARPS;
        if (row < s.to) {
#if DROP
          float by[WIDTH];
          factors(keep, (u64)element(at, row, f), by);
#endif
#pragma unroll
          for (int i = 0; i < WIDTH; i++) {
            v[k][i] = relu(v[k][i] + b[i]);
#if DROP
            v[k][i] *= by[i];
#endif
            if (WEIGHTED) v[k][i] *= w[k];
          }
          store(y + element(at, row, f), v[k]);
        }
      }
    }
  }
}

#if WEIGHTED

// dx[r] = dy[r] weight[r] by 0 or the scale, where x + bias is above 0; partials, its sums by chunk and
// group, and dots [column_blocks, rows], by tile sum_i dy[r][i] dropout(relu(x[r] + bias[g]))[i]: each
// or null.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, sizeof(T) == 2 ? 3 : 2) relu_backward(
    const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ bias,
    const int* __restrict__ offsets, const WEIGHT* __restrict__ weight, T* __restrict__ dx,
    float* __restrict__ partials, float* __restrict__ dots, long long rows, int f, int groups,
    int chunk_rows, int column_blocks, u64 key, const long long* position, long long run,
    long long stride, long long offset, int layer, int operation, float p, float scale) {
  const Strip at = strip(rows, f, chunk_rows, column_blocks);
  KEEP
  EACH_SEGMENT(s, at, offsets, groups) {
    if (s.group >= groups) {
      clear(dx, at, s, f);
      if (dots) {
        EACH_ROWS(row, s, 1) store_dot(0, dots, at, row, rows);
      }
      break;
    }
    float b[WIDTH], sums[WIDTH] = {};
    load_bias(bias, at, s, f, b);
    EACH_ROWS(first, s, BACKWARD_ROWS) {
      float v[BACKWARD_ROWS][WIDTH], g[BACKWARD_ROWS][WIDTH], w[BACKWARD_ROWS];
#pragma unroll
      for (int k = 0; k < BACKWARD_ROWS; k++) {
        const int row = row_of(first, k, s);
        load(x + element(at, row, f), v[k]);
        load(dy + element(at, row, f), g[k]);
        w[k] = weight_of(weight, at, row);
      }
#pragma unroll
      for (int k = 0; k < BACKWARD_ROWS; k++) {
        const int row = first + k * TILE_WARPS;
        if (row < s.to) {
#if DROP
          float by[WIDTH];
          factors(keep, (u64)element(at, row, f), by);
#endif
          float dot = 0;
#pragma unroll
          for (int i = 0; i < WIDTH; i++) {
            const float a = v[k][i] + b[i];
#if DROP
            g[k][i] *= by[i];
#endif
            dot = fmaf(g[k][i], relu(a), dot);
            g[k][i] = a <= 0 ? 0.0f : g[k][i] * w[k];
            sums[i] += g[k][i];
          }
          if (at.there) store(dx + element(at, row, f), g[k]);
          if (dots) store_dot(dot, dots, at, row, rows);
        }
      }
    }
    if (partials) store_sums(sums, partials, at, s, f);
  }
}

#else

// The same without weights, from y: it is above 0 exactly where x + bias was and was kept, since the
// scale is at least 1. So neither x nor the draws are needed. partials, the sums of dx by chunk and group,
// or null.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 4) relu_backward(
    const T* __restrict__ dy, const T* __restrict__ y, const int* __restrict__ offsets,
    T* __restrict__ dx, float* __restrict__ partials, long long rows, int f, int groups,
    int chunk_rows, int column_blocks, float scale) {
  const Strip at = strip(rows, f, chunk_rows, column_blocks);
  const float kept = to_float(from_float<T>(scale));
  EACH_SEGMENT(s, at, offsets, groups) {
    if (s.group >= groups) {
      clear(dx, at, s, f);
      break;
    }
    float sums[WIDTH] = {};
    EACH_ROWS(first, s, BACKWARD_ROWS) {
      float v[BACKWARD_ROWS][WIDTH], g[BACKWARD_ROWS][WIDTH];
#pragma unroll
      for (int k = 0; k < BACKWARD_ROWS; k++) {
        const int row = row_of(first, k, s);
        load(y + element(at, row, f), v[k]);
        load(dy + element(at, row, f), g[k]);
      }
#pragma unroll
      for (int k = 0; k < BACKWARD_ROWS; k++) {
        const int row = first + k * TILE_WARPS;
        if (row < s.to) {
#pragma unroll
          for (int i = 0; i < WIDTH; i++) {
            g[k][i] = v[k][i] <= 0 ? 0.0f : g[k][i] * kept;
            sums[i] += g[k][i];
          }
          if (at.there) store(dx + element(at, row, f), g[k]);
        }
      }
    }
    if (partials) store_sums(sums, partials, at, s, f);
  }
}

#endif
