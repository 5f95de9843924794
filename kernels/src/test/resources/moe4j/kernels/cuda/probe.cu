// compile: -DT=float
// compile: -DT=bf16 -DH=768
#include "common.cuh"
#ifndef H
#define H 1
#endif

extern "C" __global__ void probe(float a, const T* x, T* y, long long n, int step) {
  const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i < n) y[i] = from_float<T>(a * to_float(x[i]) + H * step);
}
