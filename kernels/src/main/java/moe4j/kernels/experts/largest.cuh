// The largest of a row of which each lane of a warp holds HELD columns: of every 32 neighbours one.
#pragma once
#include "common.cuh"

// A number's place among all, 0 being below any: -0 and 0 are equal, NaNs are equal and the largest.
__device__ __forceinline__ u32 place_of(float x) {
  if (x != x) return 0xffffffffu;
  if (x == 0) return 0x80000000u;
  const u32 bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The column of the largest place that is left, of equals the lowest; it is then left no more.
__device__ __forceinline__ int take_largest(u32 (&left)[HELD], int columns) {
  const int lane = threadIdx.x % 32;
  u32 best = 0;
  int at = columns;
#pragma unroll
  for (int j = 0; j < HELD; j++) {
    if (left[j] > best) {
      best = left[j];
      at = 32 * j + lane;
    }
  }
  const u32 largest = __reduce_max_sync(0xffffffffu, best);
  const int chosen = __reduce_min_sync(0xffffffffu, best == largest ? at : columns);
#pragma unroll
  for (int j = 0; j < HELD; j++) {
    if (32 * j + lane == chosen) left[j] = 0;
  }
  return chosen;
}
