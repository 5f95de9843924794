// Sums by a block: of tables that blocks have left, by THREADS threads, and of a number of each thread.
#pragma once
#include "common.cuh"

#define WARPS (THREADS / 32)
#define ALL 0xffffffffu

// How a block's threads share out a table [blocks][columns]: some threads to a column, each with some blocks.
struct Share {
  int column;
  int first;
  int step;
};

__device__ __forceinline__ Share share_of(int columns) {
  const int width = (columns + 31) / 32 * 32;
  Share s;
  s.step = THREADS / width;
  s.first = threadIdx.x / width;
  s.column = s.first < s.step ? (int)(threadIdx.x % width) : columns;
  return s;
}

// total[e]: the sum of table[.][e] over all blocks; before[e]: over those before this one.
__device__ __forceinline__ void add_up(const int* __restrict__ table, int blocks, int columns,
                                       int* total, int* before) {
  for (int e = threadIdx.x; e < columns; e += THREADS) total[e] = before[e] = 0;
  __syncthreads();
  const Share own = share_of(columns);
  if (own.column < columns) {
    int all = 0;
    int earlier = 0;
#pragma unroll 8
    for (int b = own.first; b < blocks; b += own.step) {
      const int count = table[(long long)b * columns + own.column];
      all += count;
      earlier += b < (int)blockIdx.x ? count : 0;
    }
    atomicAdd(&total[own.column], all);
    atomicAdd(&before[own.column], earlier);
  }
  __syncthreads();
}

// The sum of the numbers of all threads before this one, in a block of any size. warps has room for a number
// of each warp, and no thread may still be reading it.
__device__ __forceinline__ int sum_before(int own, int* warps) {
  const int lane = threadIdx.x % 32;
  int sum = own;
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    const int other = __shfl_up_sync(ALL, sum, d);
    if (lane >= d) sum += other;
  }
  if (lane == 31) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  for (int w = 0; w < (int)threadIdx.x / 32; w++) sum += warps[w];
  return sum - own;
}

// The sum of the numbers of all THREADS threads, in a fixed order. It waits until no thread reads warps any more.
__device__ __forceinline__ float block_sum(float own, float* warps) {
  const float sum = warp_sum(own);
  __syncthreads();
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  float all = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) all += warps[w];
  return all;
}
