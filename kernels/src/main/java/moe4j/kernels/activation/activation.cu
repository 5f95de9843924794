// GELU and SwiGLU after a bias, and their gradients with the bias's. Memory sets the pace: a block
// moves over a tile (tile.cuh), its columns' biases and bias gradients in registers.
#include "activation.cuh"
#include "tile.cuh"

// compile: -DTYPE=bf16 -DWIDTH=8
// compile: -DTYPE=float -DWIDTH=1

// Rows whose loads are under way together: with one tensor to read, and with more.
#define ROWS_OF_ONE 4
#define ROWS_OF_MORE 2

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
        for (int i = 0; i < WIDTH; i++) v[k][i] = gelu<T>(v[k][i] + b[i]).value;
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
            g[k][i] *= gelu<T>(v[k][i] + b[i]).slope;
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
          line[k][i] = silu<T>(a).value * (line[k][i] + line_bias[i]);
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
            const Slope s = silu<T>(a);
            gate[k][i] = g[k][i] * b * s.slope;
            line[k][i] = g[k][i] * s.value;
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
