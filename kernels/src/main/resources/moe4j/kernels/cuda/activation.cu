// GELU and SwiGLU behind a bias, and their gradients with the bias's. Memory sets the pace: a block
// moves over a tile (common.cuh), its columns' biases and bias gradients in registers.
#include "common.cuh"

// compile: -DTYPE=bf16 -DWIDTH=8
// compile: -DTYPE=float -DWIDTH=1
// TYPE: the elements' type. WIDTH: columns a lane holds, 8 where rows are aligned to 16 bytes, or 1.
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef WIDTH
#define WIDTH 8
#endif
typedef TYPE T;

// Rows whose loads are under way together: with one tensor to read, and with more.
#define ROWS_OF_ONE 4
#define ROWS_OF_MORE 2

#define LOG2E 1.4426950408889634f
#define SQRT_HALF 0.70710678118654752f
#define INVERSE_SQRT_2PI 0.3989422804014327f

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

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

// x Phi(x).
__device__ __forceinline__ float gelu(float x) {
  return fmaf(-fabsf(x), normal(x, T()).tail, fmaxf(x, 0.0f));
}

// Phi(x) + x phi(x).
__device__ __forceinline__ float gelu_slope(float x) {
  const Normal n = normal(x, T());
  return fmaf(x * INVERSE_SQRT_2PI, n.power, 0.5f + copysignf(0.5f - n.tail, x));
}

__device__ __forceinline__ float sigmoid(float x, bf16) {
  return reciprocal_fast(1.0f + exp2_fast(-LOG2E * x));
}
__device__ __forceinline__ float sigmoid(float x, float) { return 1.0f / (1.0f + expf(-x)); }

// A lane's place in the tile: its first row, the step to its next, its columns.
struct Place {
  long long row;
  long long stride;
  int chunk;
  int first_column;
  int column;
};

__device__ __forceinline__ Place place(int column_blocks) {
  Place p;
  p.chunk = blockIdx.x / column_blocks;
  p.row = (long long)p.chunk * TILE_WARPS + threadIdx.x / 32;
  p.stride = (long long)(gridDim.x / column_blocks) * TILE_WARPS;
  p.first_column = blockIdx.x % column_blocks * 32 * WIDTH;
  p.column = p.first_column + threadIdx.x % 32 * WIDTH;
  return p;
}

// Behind the last row the last is read again and dropped: so all loads start without a branch.
__device__ __forceinline__ long long clamped(long long row, long long rows) {
  return row < rows ? row : rows - 1;
}

// A bias that may be absent.
__device__ __forceinline__ void load_bias(const T* bias, int column, float (&v)[WIDTH]) {
#pragma unroll
  for (int i = 0; i < WIDTH; i++) v[i] = 0;
  if (bias) load(bias + column, v);
}

// y = gelu(x + bias); x, y [rows, f].
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 4) gelu_forward(
    const T* __restrict__ x, const T* __restrict__ bias, T* __restrict__ y, long long rows, int f,
    int column_blocks) {
  const Place at = place(column_blocks);
  if (at.column >= f) return;
  float b[WIDTH];
  load_bias(bias, at.column, b);
  for (long long first = at.row; first < rows; first += at.stride * ROWS_OF_ONE) {
    float v[ROWS_OF_ONE][WIDTH];
#pragma unroll
    for (int k = 0; k < ROWS_OF_ONE; k++) {
      load(x + clamped(first + k * at.stride, rows) * f + at.column, v[k]);
    }
#pragma unroll
    for (int k = 0; k < ROWS_OF_ONE; k++) {
      const long long row = first + k * at.stride;
      if (row < rows) {
#pragma unroll
        for (int i = 0; i < WIDTH; i++) v[k][i] = gelu(v[k][i] + b[i]);
        store(y + row * f + at.column, v[k]);
      }
    }
  }
}

// dx = dy gelu'(x + bias); partials [chunks, f], its sums over rows, or null.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 3) gelu_backward(
    const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ bias,
    T* __restrict__ dx, float* __restrict__ partials, long long rows, int f, int column_blocks) {
  const Place at = place(column_blocks);
  float sums[WIDTH] = {};
  if (at.column < f) {
    float b[WIDTH];
    load_bias(bias, at.column, b);
    for (long long first = at.row; first < rows; first += at.stride * ROWS_OF_MORE) {
      float v[ROWS_OF_MORE][WIDTH], g[ROWS_OF_MORE][WIDTH];
#pragma unroll
      for (int k = 0; k < ROWS_OF_MORE; k++) {
        const long long row = clamped(first + k * at.stride, rows);
        load(x + row * f + at.column, v[k]);
        load(dy + row * f + at.column, g[k]);
      }
#pragma unroll
      for (int k = 0; k < ROWS_OF_MORE; k++) {
        const long long row = first + k * at.stride;
        if (row < rows) {
#pragma unroll
          for (int i = 0; i < WIDTH; i++) {
            g[k][i] *= gelu_slope(v[k][i] + b[i]);
            sums[i] += g[k][i];
          }
          store(dx + row * f + at.column, g[k]);
        }
      }
    }
  }
  if (partials) store_column_sums(sums, partials + (long long)at.chunk * f, at.first_column, f);
}

// y = silu(a) b with [a, b] = x + bias; x [rows, 2 f], y [rows, f].
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 3) swiglu_forward(
    const T* __restrict__ x, const T* __restrict__ bias, T* __restrict__ y, long long rows, int f,
    int column_blocks) {
  const Place at = place(column_blocks);
  if (at.column >= f) return;
  float gate_bias[WIDTH], line_bias[WIDTH];
  load_bias(bias, at.column, gate_bias);
  load_bias(bias, at.column + f, line_bias);
  for (long long first = at.row; first < rows; first += at.stride * ROWS_OF_MORE) {
    float gate[ROWS_OF_MORE][WIDTH], line[ROWS_OF_MORE][WIDTH];
#pragma unroll
    for (int k = 0; k < ROWS_OF_MORE; k++) {
      const T* p = x + clamped(first + k * at.stride, rows) * 2 * f + at.column;
      load(p, gate[k]);
      load(p + f, line[k]);
    }
#pragma unroll
    for (int k = 0; k < ROWS_OF_MORE; k++) {
      const long long row = first + k * at.stride;
      if (row < rows) {
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
          const float a = gate[k][i] + gate_bias[i];
          line[k][i] = a * sigmoid(a, T()) * (line[k][i] + line_bias[i]);
        }
        store(y + row * f + at.column, line[k]);
      }
    }
  }
}

// dx [rows, 2 f] for dy [rows, f]; partials [chunks, 2 f], its sums over rows, or null.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS, 2) swiglu_backward(
    const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ bias,
    T* __restrict__ dx, float* __restrict__ partials, long long rows, int f, int column_blocks) {
  const Place at = place(column_blocks);
  float gate_sums[WIDTH] = {}, line_sums[WIDTH] = {};
  if (at.column < f) {
    float gate_bias[WIDTH], line_bias[WIDTH];
    load_bias(bias, at.column, gate_bias);
    load_bias(bias, at.column + f, line_bias);
    for (long long first = at.row; first < rows; first += at.stride * ROWS_OF_MORE) {
      float g[ROWS_OF_MORE][WIDTH], gate[ROWS_OF_MORE][WIDTH], line[ROWS_OF_MORE][WIDTH];
#pragma unroll
      for (int k = 0; k < ROWS_OF_MORE; k++) {
        const long long row = clamped(first + k * at.stride, rows);
        const T* p = x + row * 2 * f + at.column;
        load(p, gate[k]);
        load(p + f, line[k]);
        load(dy + row * f + at.column, g[k]);
      }
#pragma unroll
      for (int k = 0; k < ROWS_OF_MORE; k++) {
        const long long row = first + k * at.stride;
        if (row < rows) {
#pragma unroll
          for (int i = 0; i < WIDTH; i++) {
            const float a = gate[k][i] + gate_bias[i];
            const float b = line[k][i] + line_bias[i];
            const float s = sigmoid(a, T());
            gate[k][i] = g[k][i] * b * s * fmaf(a, 1.0f - s, 1.0f);
            line[k][i] = g[k][i] * a * s;
            gate_sums[i] += gate[k][i];
            line_sums[i] += line[k][i];
          }
          T* p = dx + row * 2 * f + at.column;
          store(p, gate[k]);
          store(p + f, line[k]);
        }
      }
    }
  }
  if (partials) {
    float* out = partials + (long long)at.chunk * 2 * f;
    store_column_sums(gate_sums, out, at.first_column, f);
    store_column_sums(line_sums, out + f, at.first_column, f);
  }
}
