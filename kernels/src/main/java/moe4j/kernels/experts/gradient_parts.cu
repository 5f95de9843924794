// What is left of weights' gradients where groups have many rows: sums over parts of a group's rows, which several blocks
// of grouped.cu have made so that none works long after the others, are added up in their order.
#define OP 4
#define DW 4
#define BLOCK_K 64
#define STAGES 4
#ifndef THREADS
#define THREADS 512
#endif
#define TALL 128
#define WIDE 128
#include "tiles.cuh"

// compile: -DTHREADS=512

// parts: [slots, m, n]. out: [groups, m, n], of which groups in one part are there. totals: [blocks, THREADS / 32], the
// sums of squares of what is stored. most: as grouped.cu has been given it.
extern "C" __global__ void __launch_bounds__(THREADS) gradient_parts(const int* offsets, int groups,
    int m, int n, int most, const uint4* __restrict__ parts, uint4* __restrict__ out, float* totals) {
  __shared__ int tables[3 * MOST_GROUPS + THREADS / 32];
  const Plan p = plan(offsets, groups, m, n, 0, most, tables);
  const long long size = (long long)m * n / 8;
  float squares = 0;
  for (int turn = 0; turn < groups; turn++) {
    const int first = p.pieces_before(turn), end = p.pieces()[turn];
    // The others have no more rows.
    if (end - first == 1) break;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < size;
         i += (long long)gridDim.x * THREADS) {
      float x[8] = {};
#pragma unroll 4
      for (int s = first; s < end; s++) {
        const uint4 v = parts[s * size + i];
        const u32 w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
          x[2 * k] += __uint_as_float(w[k] << 16);
          x[2 * k + 1] += __uint_as_float(w[k] & 0xffff0000u);
        }
      }
      u32 w[4];
#pragma unroll
      for (int k = 0; k < 4; k++) {
        w[k] = pack(x[2 * k], x[2 * k + 1]);
        const float low = __uint_as_float(w[k] << 16), high = __uint_as_float(w[k] & 0xffff0000u);
        squares = fmaf(high, high, fmaf(low, low, squares));
      }
      out[p.order()[turn] * size + i] = make_uint4(w[0], w[1], w[2], w[3]);
    }
  }
  squares = warp_sum(squares);
  if (threadIdx.x % 32 == 0) totals[blockIdx.x * (THREADS / 32) + threadIdx.x / 32] = squares;
}
