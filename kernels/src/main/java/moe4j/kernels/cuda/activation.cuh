// GELU and SiLU with their derivatives: in fp32, or as exact as bf16 shows, for the type given.
#pragma once
#include "common.cuh"

#define SQRT_HALF 0.70710678118654752f
#define INVERSE_SQRT_2PI 0.3989422804014327f

__device__ __forceinline__ float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The normal distribution at x: its upper tail at |x|, 1 - Phi(|x|), and exp(-x^2 / 2).
struct Normal {
  float tail;
  float power;
};

// For bf16. erfc(z) = (a1 t + .. + a5 t^5) exp(-z^2), t = 1 / (1 + p z), z >= 0: Abramowitz and
// Stegun, Handbook of Mathematical Functions (1964), 7.1.26, whose error is below 1.5e-7. Here
// z = |x| / sqrt(2), folded into p, and the coefficients are halved.
__device__ __forceinline__ Normal normal(float x, bf16) {
  Normal n;
  const float t = reciprocal_fast(fmaf(fabsf(x), 0.3275911f * SQRT_HALF, 1.0f));
  n.power = exp2_fast(x * x * (-0.5f * LOG2E));
  float s = fmaf(t, 0.5f * 1.061405429f, 0.5f * -1.453152027f);
  s = fmaf(s, t, 0.5f * 1.421413741f);
  s = fmaf(s, t, 0.5f * -0.284496736f);
  s = fmaf(s, t, 0.5f * 0.254829592f);
  n.tail = s * t * n.power;
  return n;
}

__device__ __forceinline__ Normal normal(float x, float) {
  Normal n;
  n.power = expf(-0.5f * x * x);
  n.tail = 0.5f * erfcf(fabsf(x) * SQRT_HALF);
  return n;
}

__device__ __forceinline__ float sigmoid(float x, bf16) {
  return reciprocal_fast(1.0f + exp2_fast(-LOG2E * x));
}
__device__ __forceinline__ float sigmoid(float x, float) { return 1.0f / (1.0f + expf(-x)); }

// A function's value and its derivative; what is not used of it is not computed.
struct Slope {
  float value;
  float slope;
};

// x Phi(x), Phi(x) + x phi(x).
template <typename Type> __device__ __forceinline__ Slope gelu(float x) {
  const Normal n = normal(x, Type());
  Slope r;
  r.value = fmaf(-fabsf(x), n.tail, fmaxf(x, 0.0f));
  r.slope = fmaf(x * INVERSE_SQRT_2PI, n.power, x < 0 ? n.tail : 1.0f - n.tail);
  return r;
}

// The same for what is rounded to bf16 in the end, with one special function: log2(1 - Phi(z)) and z phi(z) / (1 -
// Phi(z)) as polynomials in z = |x|, fitted on [0, 5.8], beyond which the tail is as good as 0. The tail's relative
// error is below 3.2e-4, a sixth of what rounding does.
__device__ __forceinline__ Slope gelu_of_bf16(float x) {
  const float z = fminf(fabsf(x), 16.0f);
  float s = fmaf(z, -2.13726696e-4f, 4.62494488e-3f);
  s = fmaf(s, z, -4.35406174e-2f);
  s = fmaf(s, z, -4.71513092e-1f);
  s = fmaf(s, z, -1.14517754f);
  const float tail = exp2_fast(fmaf(s, z, -1.00045925f));
  float q = fmaf(z, -9.1002e-4f, 1.490834e-2f);
  q = fmaf(q, z, -9.874414e-2f);
  q = fmaf(q, z, -6.4248649e-1f);
  q = fmaf(q, z, -7.9745337e-1f);
  q = fmaf(q, z, 1.0f) * tail;
  Slope r;
  r.value = fmaf(-fabsf(x), tail, fmaxf(x, 0.0f));
  r.slope = x < 0 ? q : 1.0f - q;
  return r;
}

// x sigmoid(x).
template <typename Type> __device__ __forceinline__ Slope silu(float x) {
  const float s = sigmoid(x, Type());
  Slope r;
  r.value = x * s;
  r.slope = s * fmaf(x, 1.0f - s, 1.0f);
  return r;
}
