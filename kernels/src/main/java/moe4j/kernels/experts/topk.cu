// The k largest of each row, and their gradient. A warp a row.
#include "common.cuh"

// compile: -DHELD=3
// compile: -DHELD=1
// compile: -DHELD=16
// HELD: columns a lane holds in registers, so that 32 HELD are at least those of a row.
#ifndef HELD
#define HELD 3
#endif

#define THREADS 256
#define ALL 0xffffffffu

// A number's place among all, 0 being below any: -0 and 0 are equal, NaNs are equal and the largest.
__device__ __forceinline__ u32 place_of(float x) {
  if (x != x) return 0xffffffffu;
  if (x == 0) return 0x80000000u;
  const u32 bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// values[r] and indices[r]: the k largest of row r, the largest first, of equals the lowest index
// first. The largest is taken k times; rounds are few where k is small, as a router's is.
extern "C" __global__ void __launch_bounds__(THREADS)
    top(const float* __restrict__ x, float* __restrict__ values, long long* __restrict__ indices,
        long long rows, int columns, int k) {
  const long long r = row_of_warp<THREADS>();
  if (r >= rows) return;
  const int lane = threadIdx.x % 32;
  const float* row = x + r * columns;
  u32 left[HELD];
#pragma unroll
  for (int j = 0; j < HELD; j++) {
    const int c = 32 * j + lane;
    left[j] = c < columns ? place_of(row[c]) : 0;
  }
  int mine = 0;
  for (int i = 0; i < k; i++) {
    u32 best = 0;
    int at = 0;
#pragma unroll
    for (int j = 0; j < HELD; j++) {
      if (left[j] > best) {
        best = left[j];
        at = 32 * j + lane;
      }
    }
    const u32 largest = __reduce_max_sync(ALL, best);
    const int chosen = __reduce_min_sync(ALL, best == largest ? at : columns);
#pragma unroll
    for (int j = 0; j < HELD; j++) {
      if (32 * j + lane == chosen) left[j] = 0;
    }
    // A lane keeps one choice of 32, so that they are written side by side.
    if (lane == i % 32) mine = chosen;
    if (i % 32 == 31 || i == k - 1) {
      const int own = i / 32 * 32 + lane;
      if (own <= i) {
        values[r * k + own] = row[mine];
        indices[r * k + own] = mine;
      }
    }
  }
}

// dx[r][indices[r][i]] = g[r][i], 0 elsewhere; a row's indices differ.
extern "C" __global__ void __launch_bounds__(THREADS)
    top_gradient(const float* __restrict__ g, const long long* __restrict__ indices, float* dx,
                 long long rows, int columns, int k) {
  const long long r = row_of_warp<THREADS>();
  if (r >= rows) return;
  const int lane = threadIdx.x % 32;
  float* row = dx + r * columns;
#pragma unroll 4
  for (int c = lane; c < columns; c += 32) row[c] = 0;
  // Orders the zeros before what other lanes write in their place.
  __syncwarp();
  for (int i = lane; i < k; i += 32) row[indices[r * k + i]] = g[r * k + i];
}
