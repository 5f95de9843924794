// The second stage of sums over groups' rows, and over rows' columns, in a fixed order: a kernel before
// has left those of its blocks (groups.cuh).
#include "groups.cuh"

// compile: -DTYPE=bf16 -DWEIGHT=float
// compile: -DTYPE=float -DWEIGHT=bf16

// The first sum_blocks blocks, 32 columns of a group each: partials, by chunk and group [.., n], to sums
// [groups, n], zeros for a group without rows. The others, a row a thread: dots [tiles, rows] to
// row_sums [rows], zeros after the last group.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS) group_finish(
    const float* __restrict__ partials, const int* __restrict__ offsets, T* __restrict__ sums,
    const float* __restrict__ dots, WEIGHT* __restrict__ row_sums, long long rows, int n,
    int groups, int chunk_rows, int tiles, int sum_blocks) {
  if ((int)blockIdx.x >= sum_blocks) {
    const long long row = (long long)(blockIdx.x - sum_blocks) * 32 * TILE_WARPS + threadIdx.x;
    if (row >= rows) return;
    float sum = 0;
    if (!offsets || row < offsets[groups - 1]) {
#pragma unroll 4
      for (int i = 0; i < tiles; i++) sum += dots[i * rows + row];
    }
    row_sums[row] = from_float<WEIGHT>(sum);
    return;
  }
  __shared__ float buffer[TILE_WARPS][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int group = blockIdx.x / (sum_blocks / groups);
  const int column = blockIdx.x % (sum_blocks / groups) * 32 + lane;
  const long long from = offsets && group > 0 ? offsets[group - 1] : 0;
  const long long to = offsets ? min(rows, (long long)offsets[group]) : rows;
  float sum = 0;
  if (from < to && column < n) {
    const int last = (int)((to - 1) / chunk_rows);
#pragma unroll 4
    for (int chunk = (int)(from / chunk_rows) + warp; chunk <= last; chunk += TILE_WARPS) {
      sum += partials[((long long)chunk + group) * n + column];
    }
  }
  buffer[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && column < n) {
    sum = 0;
#pragma unroll
    for (int w = 0; w < TILE_WARPS; w++) sum += buffer[w][lane];
    sums[(long long)group * n + column] = from_float<T>(sum);
  }
}
