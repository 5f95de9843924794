// fp32 numbers as the sums of two bf16 ones, for products on tensor cores that keep 16 bits.
#include "common.cuh"

// compile: -DWIDTH=8
// compile: -DWIDTH=1
// WIDTH: neighbours a thread splits; 8 where rows begin and end at multiples of 16 bytes.
#ifndef WIDTH
#define WIDTH 8
#endif

#define THREADS 256

// x [rows, n] to halves [rows, 2 n]: beside each other x rounded, and what that leaves of x.
extern "C" __global__ void __launch_bounds__(THREADS)
    split(const float* __restrict__ x, bf16* __restrict__ halves, long long rows, int n) {
  const u32 pieces = n / WIDTH;
  const u64 i = (u64)blockIdx.x * THREADS + threadIdx.x;
  const u64 r = i / pieces;
  if (r >= (u64)rows) return;
  const u32 c = (u32)(i % pieces) * WIDTH;
  float high[WIDTH], low[WIDTH];
  load(x + r * n + c, low);
#pragma unroll
  for (int j = 0; j < WIDTH; j++) {
    high[j] = to_float(from_float<bf16>(low[j]));
    low[j] -= high[j];
  }
  bf16* row = halves + r * 2 * n;
  store(row + c, high);
  store(row + n + c, low);
}
