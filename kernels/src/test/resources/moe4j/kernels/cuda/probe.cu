// compile: -DTYPE=float
// compile: -DTYPE=bf16 -DH=768
#include "common.cuh"
#ifndef H
#define H 1
#endif

extern "C" __global__ void probe(float a, const TYPE* x, TYPE* y, long long n, int step) {
  const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i < n) y[i] = from_float<TYPE>(a * to_float(x[i]) + H * step);
}
