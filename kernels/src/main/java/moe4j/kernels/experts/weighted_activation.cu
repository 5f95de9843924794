// Between the experts' projections: an activation, weighted by row, and its gradient. A warp a row.
#include "activation.cuh"

// compile: -DTYPE=bf16 -DWEIGHT=float -DGATED=1
// compile: -DTYPE=float -DWEIGHT=bf16 -DGATED=0
// TYPE: the rows'. WEIGHT: the rows' weights'. GATED: 1 for SwiGLU, 0 for GELU.
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef WEIGHT
#define WEIGHT float
#endif
#ifndef GATED
#define GATED 0
#endif

#define THREADS 256

__device__ __forceinline__ bool aligned(const void* x, const void* y, const void* z, int f) {
  return f % 8 == 0 && (((u64)x | (u64)y | (u64)z) & 15) == 0;
}

// Calls body(i) for a warp's share of f elements, 8 at a time or single.
#define EACH8 _Pragma("unroll 2") for (int i = 8 * lane; i < f; i += 8 * 32)
#define EACH _Pragma("unroll 4") for (int i = lane; i < f; i += 32)

// y[r][i] = activation(x[r])[i] weight[r], x of f or, gated, 2 f columns.
extern "C" __global__ void __launch_bounds__(THREADS)
    forward(const TYPE* __restrict__ x, const WEIGHT* __restrict__ weight, TYPE* __restrict__ y,
            long long rows, int f) {
  const long long r = row_of_warp<THREADS>();
  if (r >= rows) return;
  const int lane = threadIdx.x % 32;
  const float w = to_float(weight[r]);
  const TYPE* a = x + r * (1 + GATED) * f;
  TYPE* out = y + r * f;
  if (aligned(x, y, y, f)) {
    EACH8 {
      float v[8];
      load8(a + i, v);
#if GATED
      float b[8];
      load8(a + f + i, b);
#pragma unroll
      for (int j = 0; j < 8; j++) v[j] = silu<TYPE>(v[j]).value * b[j] * w;
#else
#pragma unroll
      for (int j = 0; j < 8; j++) v[j] = gelu<TYPE>(v[j]).value * w;
#endif
      store8(out + i, v);
    }
  } else {
    EACH {
#if GATED
      const float v = silu<TYPE>(to_float(a[i])).value * to_float(a[f + i]);
#else
      const float v = gelu<TYPE>(to_float(a[i])).value;
#endif
      out[i] = from_float<TYPE>(v * w);
    }
  }
}

// An element's part of the gradients for g, that of its y: da and, gated, db; and what it adds to
// the weight's.
__device__ __forceinline__ float element(float g, float w, float& a, float& b) {
#if GATED
  const Slope s = silu<TYPE>(a);
  const float product = g * s.value;
  a = g * w * b * s.slope;
  const float weighted = product * b;
  b = product * w;
  return weighted;
#else
  const Slope s = gelu<TYPE>(a);
  a = g * w * s.slope;
  return g * s.value;
#endif
}

// dx[r] = dy[r] weight[r] activation'(x[r]), dweight[r] = sum_i dy[r][i] activation(x[r])[i].
extern "C" __global__ void __launch_bounds__(THREADS)
    backward(const TYPE* __restrict__ x, const WEIGHT* __restrict__ weight,
             const TYPE* __restrict__ dy, TYPE* __restrict__ dx, WEIGHT* __restrict__ dweight,
             long long rows, int f) {
  const long long r = row_of_warp<THREADS>();
  if (r >= rows) return;
  const int lane = threadIdx.x % 32;
  const float w = to_float(weight[r]);
  const TYPE* a = x + r * (1 + GATED) * f;
  const TYPE* g = dy + r * f;
  TYPE* da = dx + r * (1 + GATED) * f;
  float sum = 0;
  if (aligned(x, dy, dx, f)) {
    EACH8 {
      float u[8], v[8], b[8];
      load8(a + i, u);
      load8(g + i, v);
#if GATED
      load8(a + f + i, b);
#endif
#pragma unroll
      for (int j = 0; j < 8; j++) sum += element(v[j], w, u[j], b[j]);
      store8(da + i, u);
#if GATED
      store8(da + f + i, b);
#endif
    }
  } else {
    EACH {
      float u = to_float(a[i]);
      float b = GATED ? to_float(a[f * GATED + i]) : 0.0f;
      sum += element(to_float(g[i]), w, u, b);
      da[i] = from_float<TYPE>(u);
#if GATED
      da[f + i] = from_float<TYPE>(b);
#endif
    }
  }
  sum = warp_sum(sum);
  if (lane == 0) dweight[r] = from_float<WEIGHT>(sum);
}
