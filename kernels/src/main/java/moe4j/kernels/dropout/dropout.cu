// Random numbers of a step, and inverted dropout by them (StepRandom.java). A thread has eight
// neighbours.
#include "common.cuh"

// compile: -DTYPE=bf16 -DALIGNED=1
// compile: -DTYPE=bf16 -DALIGNED=1 -DPART=1
// compile: -DTYPE=float -DALIGNED=0
// compile: -DTYPE=float -DALIGNED=0 -DPART=1
// TYPE: the elements' type. ALIGNED: a sample has a multiple of four elements, or of eight with PART
// (common.cuh), and addresses are multiples of 16 bytes.
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef ALIGNED
#define ALIGNED 1
#endif
typedef TYPE T;

// The draws of the elements from i on that there are.
__device__ __forceinline__ void draw_all(
    const Draws& d, long long i, long long size, float (&u)[8]) {
  if (ALIGNED) {
    draw8(d, (u64)i, u);
  } else {
#pragma unroll
    for (int k = 0; k < 8; k++) u[k] = i + k < size ? draw(d, (u64)(i + k)) : 0;
  }
}

// out [size], in [0, 1).
extern "C" __global__ void __launch_bounds__(256) uniform_draws(
    float* __restrict__ out, long long size, u64 key, const long long* position, long long run,
    long long stride, long long offset, int layer, int operation) {
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * 8;
  if (i >= size) return;
  float u[8];
  draw_all(draws_of(key, position, run, stride, offset, layer, operation), i, size, u);
  if (ALIGNED && i + 8 <= size) {
    store8(out + i, u);
  } else {
#pragma unroll
    for (int k = 0; k < 8; k++) {
      if (i + k < size) out[i + k] = u[k];
    }
  }
}

// y = x scale where the draw is at least p, else x times 0; scale is rounded to the type first.
extern "C" __global__ void __launch_bounds__(256) dropout(
    const T* __restrict__ x, T* __restrict__ y, long long size, u64 key, const long long* position,
    long long run, long long stride, long long offset, int layer, int operation, float p,
    float scale) {
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * 8;
  if (i >= size) return;
  const bool whole = ALIGNED && i + 8 <= size;
  float v[8] = {};
  if (whole) {
    load8(x + i, v);
  } else {
#pragma unroll
    for (int k = 0; k < 8; k++) {
      if (i + k < size) v[k] = to_float(x[i + k]);
    }
  }
  float u[8];
  draw_all(draws_of(key, position, run, stride, offset, layer, operation), i, size, u);
  const float kept = to_float(from_float<T>(scale));
#pragma unroll
  for (int k = 0; k < 8; k++) v[k] *= u[k] >= p ? kept : 0.0f;
  if (whole) {
    store8(y + i, v);
  } else {
#pragma unroll
    for (int k = 0; k < 8; k++) {
      if (i + k < size) y[i + k] = from_float<T>(v[k]);
    }
  }
}
