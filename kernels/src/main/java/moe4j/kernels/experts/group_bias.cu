// A group's bias on each of its rows, weighted by row: what experts' second projections add, and the
// gradients of bias and weight (GroupBias.java).
#include "groups.cuh"

// compile: -DTYPE=bf16 -DWIDTH=8 -DWEIGHTED=1
// compile: -DTYPE=bf16 -DWIDTH=8 -DWEIGHTED=0
// compile: -DTYPE=float -DWIDTH=8 -DWEIGHTED=1
// compile: -DTYPE=float -DWIDTH=1 -DWEIGHTED=1 -DWEIGHT=bf16

#define ROWS 4

// out[r] = y[r] + weight[r] bias[g]; a row after the last group stays as it is.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 4) group_bias_forward(
    const T* __restrict__ y, const T* __restrict__ bias, const int* __restrict__ offsets,
    const WEIGHT* __restrict__ weight, T* __restrict__ out, long long rows, int h, int groups,
    int chunk_rows, int column_blocks) {
  const Strip at = strip(rows, h, chunk_rows, column_blocks);
  if (!at.there) return;
  EACH_SEGMENT(s, at, offsets, groups) {
    float b[WIDTH] = {};
    if (s.group < groups) load(bias + (long long)s.group * h + at.column, b);
    EACH_ROWS(first, s, ROWS) {
      float v[ROWS][WIDTH], w[ROWS];
#pragma unroll
      for (int k = 0; k < ROWS; k++) {
        const int row = row_of(first, k, s);
        load(y + element(at, row, h), v[k]);
        w[k] = s.group < groups ? weight_of(weight, at, row) : 0.0f;
      }
#pragma unroll
      for (int k = 0; k < ROWS; k++) {
        const int row = first + k * TILE_WARPS;
        if (row < s.to) {
#pragma unroll
          for (int i = 0; i < WIDTH; i++) v[k][i] = fmaf(w[k], b[i], v[k][i]);
          store(out + element(at, row, h), v[k]);
        }
      }
    }
  }
}

// partials, by chunk and group the sums of weight[r] dy[r]; dots [column_blocks, rows], by tile
// sum_i dy[r][i] bias[g][i]; each or null.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 3) group_bias_backward(
    const T* __restrict__ dy, const T* __restrict__ bias, const int* __restrict__ offsets,
    const WEIGHT* __restrict__ weight, float* __restrict__ partials, float* __restrict__ dots,
    long long rows, int h, int groups, int chunk_rows, int column_blocks) {
  const Strip at = strip(rows, h, chunk_rows, column_blocks);
  EACH_SEGMENT(s, at, offsets, groups) {
    if (s.group >= groups) {
      if (dots) {
        EACH_ROWS(row, s, 1) store_dot(0, dots, at, row, rows);
      }
      break;
    }
    float b[WIDTH], sums[WIDTH] = {};
    load(bias + (long long)s.group * h + at.column, b);
    EACH_ROWS(first, s, ROWS) {
      float g[ROWS][WIDTH], w[ROWS];
#pragma unroll
      for (int k = 0; k < ROWS; k++) {
        const int row = row_of(first, k, s);
        load(dy + element(at, row, h), g[k]);
        w[k] = weight_of(weight, at, row);
      }
#pragma unroll
      for (int k = 0; k < ROWS; k++) {
        const int row = first + k * TILE_WARPS;
        if (row < s.to) {
          float dot = 0;
#pragma unroll
          for (int i = 0; i < WIDTH; i++) {
            dot = fmaf(g[k][i], b[i], dot);
            sums[i] = fmaf(w[k], g[k][i], sums[i]);
          }
          if (dots) store_dot(dot, dots, at, row, rows);
        }
      }
    }
    if (partials) store_sums(sums, partials, at, s, h);
  }
}
