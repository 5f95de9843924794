// Rows out to their routes and back: copies and sums of whole rows. A warp makes a row.
#include "common.cuh"

// compile: -DTYPE=bf16 -DK=2
// compile: -DTYPE=float -DK=1
// compile: -DTYPE=bf16 -DK=32
// TYPE: the rows'. K: routes a token has.
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef K
#define K 2
#endif

#define THREADS 256

// Whether rows of h elements can be moved 16 bytes at a time.
__device__ __forceinline__ bool aligned(const void* x, const void* y, int h) {
  return h % 8 == 0 && (((u64)x | (u64)y) & 15) == 0;
}

// y[r] = x[token[r]], zeros where that is negative. Rows are copied as they are.
extern "C" __global__ void __launch_bounds__(THREADS)
    spread(const TYPE* __restrict__ x, const long long* __restrict__ token, TYPE* __restrict__ y,
           long long rows, int h) {
  const long long r = row_of_warp<THREADS>();
  if (r >= rows) return;
  const int lane = threadIdx.x % 32;
  const long long t = token[r];
  const TYPE* from = x + (t < 0 ? 0 : t) * h;
  TYPE* to = y + r * h;
  if (aligned(x, y, h)) {
    const uint4 zero = make_uint4(0, 0, 0, 0);
    const uint4* source = reinterpret_cast<const uint4*>(from);
    uint4* target = reinterpret_cast<uint4*>(to);
    const int vectors = h / 8 * (int)sizeof(TYPE) / 2;
#pragma unroll 4
    for (int i = lane; i < vectors; i += 32) target[i] = t < 0 ? zero : source[i];
  } else {
#pragma unroll 4
    for (int i = lane; i < h; i += 32) to[i] = t < 0 ? from_float<TYPE>(0) : from[i];
  }
}

// The same where a token's K routes are known: y[slot[t][j]] = x[t], so that a row is read once. Warp r has
// token r, and writes zeros to row r of y if the route there has no token.
extern "C" __global__ void __launch_bounds__(THREADS)
    spread_slots(const TYPE* __restrict__ x, const long long* __restrict__ token,
                 const long long* __restrict__ slot, TYPE* __restrict__ y, long long tokens,
                 long long rows, int h) {
  const long long r = row_of_warp<THREADS>();
  const int lane = threadIdx.x % 32;
  const bool vectors = aligned(x, y, h);
  const int count = h / 8 * (int)sizeof(TYPE) / 2;
  if (r < tokens) {
    long long to[K];
#pragma unroll
    for (int j = 0; j < K; j++) to[j] = slot[r * K + j];
    if (vectors) {
      const uint4* source = reinterpret_cast<const uint4*>(x + r * h);
#pragma unroll 4
      for (int i = lane; i < count; i += 32) {
        const uint4 v = source[i];
#pragma unroll
        for (int j = 0; j < K; j++) {
          if (to[j] >= 0) reinterpret_cast<uint4*>(y + to[j] * h)[i] = v;
        }
      }
    } else {
      for (int i = lane; i < h; i += 32) {
        const TYPE v = x[r * h + i];
#pragma unroll
        for (int j = 0; j < K; j++) {
          if (to[j] >= 0) y[to[j] * h + i] = v;
        }
      }
    }
  }
  if (r < rows && token[r] < 0) {
    if (vectors) {
      uint4* target = reinterpret_cast<uint4*>(y + r * h);
      for (int i = lane; i < count; i += 32) target[i] = make_uint4(0, 0, 0, 0);
    } else {
      for (int i = lane; i < h; i += 32) y[r * h + i] = from_float<TYPE>(0);
    }
  }
}

// y[t] = beside[t] + sum_j x[slot[t][j]] in fp32, rounded once; a negative slot adds nothing, and beside may
// be null.
extern "C" __global__ void __launch_bounds__(THREADS)
    gather(const TYPE* __restrict__ x, const long long* __restrict__ slot,
           const TYPE* __restrict__ beside, TYPE* __restrict__ y, long long rows, int h) {
  const long long t = row_of_warp<THREADS>();
  if (t >= rows) return;
  const int lane = threadIdx.x % 32;
  long long from[K];
#pragma unroll
  for (int j = 0; j < K; j++) from[j] = slot[t * K + j];
  TYPE* to = y + t * h;
  if (aligned(x, y, h) && ((u64)beside & 15) == 0) {
#pragma unroll 2
    for (int i = 8 * lane; i < h; i += 8 * 32) {
      float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
      if (beside != nullptr) load8(beside + t * h + i, sum);
#pragma unroll
      for (int j = 0; j < K; j++) {
        if (from[j] >= 0) {
          float v[8];
          load8(x + from[j] * h + i, v);
#pragma unroll
          for (int c = 0; c < 8; c++) sum[c] += v[c];
        }
      }
      store8(to + i, sum);
    }
  } else {
    for (int i = lane; i < h; i += 32) {
      float sum = beside == nullptr ? 0 : to_float(beside[t * h + i]);
#pragma unroll
      for (int j = 0; j < K; j++) {
        if (from[j] >= 0) sum += to_float(x[from[j] * h + i]);
      }
      to[i] = from_float<TYPE>(sum);
    }
  }
}
