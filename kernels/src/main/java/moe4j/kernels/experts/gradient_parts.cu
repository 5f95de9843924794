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

// parts: [slots, m, n]. out: [groups, m, n], of which groups in one part are there. totals: [blocks], the sums of squares
// of what is stored. most: as grouped.cu has been given it. Many blocks wait for memory side by side.
extern "C" __global__ void __launch_bounds__(THREADS, 3) gradient_parts(const int* offsets, int groups,
    int m, int n, int most, const uint4* __restrict__ parts, uint4* __restrict__ out, float* totals) {
  __shared__ int tables[3 * MOST_GROUPS + THREADS / 32];
  __shared__ float sums[THREADS / 32];
  // Mostly no group is cut.
  bool large = false;
  for (int g = threadIdx.x; g < groups; g += THREADS) {
    large |= offsets[g] - (g == 0 ? 0 : offsets[g - 1]) > most;
  }
  if (!__syncthreads_or(large)) {
    if (threadIdx.x == 0) totals[blockIdx.x] = 0;
    return;
  }
  const Plan p = plan(offsets, groups, m, n, 0, most, tables);
  const int size = m * (n / 8);
  float squares = 0;
  // The groups that are cut come first.
  int cut = 0;
  while (cut < groups && p.pieces()[cut] - p.pieces_before(cut) > 1) cut++;
  for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < (long long)cut * size;
       i += (long long)gridDim.x * THREADS) {
    const int turn = (int)(i / size), at = (int)(i - (long long)turn * size);
    const int end = p.pieces()[turn];
    float x[8] = {};
#pragma unroll 8
    for (int s = p.pieces_before(turn); s < end; s++) {
      const uint4 v = __ldcs(parts + (long long)s * size + at);
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
    out[(long long)p.order()[turn] * size + at] = make_uint4(w[0], w[1], w[2], w[3]);
  }
  squares = warp_sum(squares);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = squares;
  __syncthreads();
  if (threadIdx.x == 0) {
    float sum = 0;
    for (int w = 0; w < THREADS / 32; w++) sum += sums[w];
    totals[blockIdx.x] = sum;
  }
}
