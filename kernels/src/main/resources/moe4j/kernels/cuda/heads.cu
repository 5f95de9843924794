// The gradients of queries, keys and values, put together to that of the projection they came from,
// with its sums over rows, the bias's gradient, in passing.
#include "common.cuh"

// compile: -DTYPE=bf16 -DWIDTH=8
// compile: -DTYPE=float -DWIDTH=1
// TYPE: the elements' type. WIDTH: columns a lane holds, 8 where heads are aligned to 16 bytes, or 1.
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef WIDTH
#define WIDTH 8
#endif
typedef TYPE T;

#define IN_FLIGHT 4

// dq [rows, groups, heads, d], dk and dv [rows, groups, d] to out [rows, groups, heads + 2, d], n
// columns; partials [gridDim.x / column_blocks, n], out's sums over rows, or null.
extern "C" __global__ void __launch_bounds__(32 * TILE_WARPS) heads_together(
    const T* __restrict__ dq, const T* __restrict__ dk, const T* __restrict__ dv,
    T* __restrict__ out, float* __restrict__ partials, long long rows, int n, int heads, int d,
    int column_blocks) {
  const int first_column = (blockIdx.x % column_blocks) * 32 * WIDTH;
  const int chunk = blockIdx.x / column_blocks;
  const long long stride = (long long)(gridDim.x / column_blocks) * TILE_WARPS;
  const int column = first_column + threadIdx.x % 32 * WIDTH;
  float sums[WIDTH] = {};
  if (column < n) {
    // A lane's columns are of one head: where that lies.
    const int groups = n / ((heads + 2) * d);
    const int group = column / ((heads + 2) * d);
    const int head = column / d % (heads + 2);
    const bool query = head < heads;
    const T* from = query ? dq + (group * heads + head) * d : (head == heads ? dk : dv) + group * d;
    from += column % d;
    const int from_stride = query ? groups * heads * d : groups * d;
    for (long long first = (long long)chunk * TILE_WARPS + threadIdx.x / 32; first < rows;
         first += stride * IN_FLIGHT) {
      // Behind the last row the last is read again and dropped: all loads start without a branch.
      float v[IN_FLIGHT][WIDTH];
#pragma unroll
      for (int k = 0; k < IN_FLIGHT; k++) {
        const long long row = first + k * stride;
        load(from + (row < rows ? row : rows - 1) * from_stride, v[k]);
      }
#pragma unroll
      for (int k = 0; k < IN_FLIGHT; k++) {
        const long long row = first + k * stride;
        if (row < rows) {
          store(out + row * n + column, v[k]);
#pragma unroll
          for (int i = 0; i < WIDTH; i++) sums[i] += v[k][i];
        }
      }
    }
  }
  if (partials) store_column_sums(sums, partials + (long long)chunk * n, first_column, n);
}
