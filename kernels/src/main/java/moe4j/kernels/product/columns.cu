// Sums over rows, in two stages and a fixed order: blocks leave fp32 sums of the rows they see, and
// a small kernel adds those up.
#include "tile.cuh"

// compile: -DTYPE=bf16 -DWIDTH=8
// compile: -DTYPE=float -DWIDTH=1

#define IN_FLIGHT 4

// x [rows, n] to partials [gridDim.x / column_blocks, n].
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS) column_partials(
    const T* __restrict__ x, float* __restrict__ partials, long long rows, int n,
    int column_blocks) {
  const Place at = place(column_blocks);
  float sums[WIDTH] = {};
  if (at.column < n) {
    for (long long first = at.row; first < rows; first += at.stride * IN_FLIGHT) {
      float v[IN_FLIGHT][WIDTH];
#pragma unroll
      for (int k = 0; k < IN_FLIGHT; k++) {
        load(x + clamped(first + k * at.stride, rows) * n + at.column, v[k]);
      }
#pragma unroll
      for (int k = 0; k < IN_FLIGHT; k++) {
        const bool there = first + k * at.stride < rows;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) sums[i] += there ? v[k][i] : 0.0f;
      }
    }
  }
  store_column_sums(sums, partials + (long long)at.chunk * n, at.first_column, n);
}

// partials [count, n] to out [n]; a block has 16 warps and sums 32 columns.
extern "C" __global__ void __launch_bounds__(512) column_finish(
    const float* __restrict__ partials, T* __restrict__ out, int count, int n) {
  __shared__ float buffer[16][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int column = blockIdx.x * 32 + lane;
  float sum = 0;
  if (column < n) {
#pragma unroll 4
    for (int i = warp; i < count; i += 16) sum += partials[(long long)i * n + column];
  }
  buffer[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < n) {
    sum = 0;
#pragma unroll
    for (int w = 0; w < 16; w++) sum += buffer[w][lane];
    out[column] = from_float<T>(sum);
  }
}
