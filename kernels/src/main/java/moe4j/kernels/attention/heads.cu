// The gradients of queries, keys and values, put together to that of the projection they came from,
// with its sums over rows, the bias's gradient, in passing.
#include "tile.cuh"

// compile: -DTYPE=bf16 -DWIDTH=8
// compile: -DTYPE=float -DWIDTH=1

#define IN_FLIGHT 4

// dq [rows, groups, heads, d], dk and dv [rows, groups, d] to out [rows, groups, heads + 2, d], n
// columns; partials [gridDim.x / column_blocks, n], out's sums over rows, or null.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS) heads_together(
    const T* __restrict__ dq, const T* __restrict__ dk, const T* __restrict__ dv,
    T* __restrict__ out, float* __restrict__ partials, long long rows, int n, int heads, int d,
    int column_blocks) {
  const Place at = place(column_blocks);
  float sums[WIDTH] = {};
  if (at.column < n) {
    // A lane's columns are of one head: where that lies.
    const int groups = n / ((heads + 2) * d);
    const int group = at.column / ((heads + 2) * d);
    const int head = at.column / d % (heads + 2);
    const bool query = head < heads;
    const T* from = query ? dq + (group * heads + head) * d : (head == heads ? dk : dv) + group * d;
    from += at.column % d;
    const int from_stride = query ? groups * heads * d : groups * d;
    for (long long first = at.row; first < rows; first += at.stride * IN_FLIGHT) {
      float v[IN_FLIGHT][WIDTH];
#pragma unroll
      for (int k = 0; k < IN_FLIGHT; k++) {
        load(from + clamped(first + k * at.stride, rows) * from_stride, v[k]);
      }
#pragma unroll
      for (int k = 0; k < IN_FLIGHT; k++) {
        const long long row = first + k * at.stride;
        if (row < rows) {
          store(out + row * n + at.column, v[k]);
#pragma unroll
          for (int i = 0; i < WIDTH; i++) sums[i] += v[k][i];
        }
      }
    }
  }
  if (partials) store_column_sums(sums, partials + (long long)at.chunk * n, at.first_column, n);
}
