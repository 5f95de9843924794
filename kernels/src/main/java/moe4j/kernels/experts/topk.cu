// The k largest of each row, and their gradient. A warp a row.
#include "common.cuh"

// compile: -DHELD=3
// compile: -DHELD=1
// compile: -DHELD=16
// HELD: columns a lane holds in registers, so that 32 HELD are at least those of a row.
#ifndef HELD
#define HELD 3
#endif
#include "largest.cuh"

#define THREADS 256

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
    const int chosen = take_largest(left, columns);
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
