// Sorts the routes of tokens by expert, keeping their order: counts by block, the counts' sums, the
// places. Only integers are added, so the order of the additions does not matter. Choices that were
// dropped, the negative ones, are sorted as those of a last expert.
#include "common.cuh"

// As in RouteSort.java.
#define CHUNK 1024
#define THREADS 256
#define MOST_EXPERTS 512

#define ROUNDS (CHUNK / THREADS)

#include "block_sums.cuh"

// The expert that choice i of the n names; for a dropped choice one past the last expert.
__device__ __forceinline__ int named_by(const long long* __restrict__ expert, int i, int experts) {
  const long long e = expert[i];
  if (e >= experts) __trap();
  return e < 0 ? experts : (int)e;
}

// table[e][block]: how often a block's part of the n choices names expert e; the last row counts dropped ones.
extern "C" __global__ void __launch_bounds__(THREADS)
    count(const long long* __restrict__ expert, int* __restrict__ table, int n, int experts) {
  __shared__ int counts[MOST_EXPERTS + 1];
  for (int e = threadIdx.x; e <= experts; e += THREADS) counts[e] = 0;
  __syncthreads();
#pragma unroll
  for (int r = 0; r < ROUNDS; r++) {
    const int i = blockIdx.x * CHUNK + r * THREADS + threadIdx.x;
    if (i < n) atomicAdd(&counts[named_by(expert, i, experts)], 1);
  }
  __syncthreads();
  for (int e = threadIdx.x; e <= experts; e += THREADS) {
    table[e * gridDim.x + blockIdx.x] = counts[e];
  }
}

// One block of 1024 threads: table becomes the sum of what is before each of its entries, and
// offsets[e] where expert e ends.
extern "C" __global__ void __launch_bounds__(1024)
    sums(int* __restrict__ table, int* __restrict__ offsets, int blocks, int experts) {
  __shared__ int warps[32];
  const int size = blocks * (experts + 1);
  const int each = (size + 1023) / 1024;
  const int from = min(size, (int)threadIdx.x * each);
  const int to = min(size, from + each);
  int own = 0;
  for (int i = from; i < to; i++) own += table[i];
  int before = sum_before(own, warps);
  for (int i = from; i < to; i++) {
    const int value = table[i];
    table[i] = before;
    before += value;
    if (i % blocks == blocks - 1 && i / blocks < experts) offsets[i / blocks] = before;
  }
}

// slot[i]: where choice i stands among all; order[slot[i]] = i, and token[slot[i]] = i / k; -1 for
// dropped ones. A warp takes consecutive choices, 32 at a time; of those that name one expert
// the first comes first.
extern "C" __global__ void __launch_bounds__(THREADS)
    places(const long long* __restrict__ expert, const int* __restrict__ table,
           long long* __restrict__ order, long long* __restrict__ token,
           long long* __restrict__ slot, int n, int experts, int k) {
  __shared__ int next[WARPS][MOST_EXPERTS + 1];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  for (int w = 0; w < WARPS; w++) {
    for (int e = threadIdx.x; e <= experts; e += THREADS) next[w][e] = 0;
  }
  __syncthreads();
  const int first = blockIdx.x * CHUNK + warp * (CHUNK / WARPS) + lane;
  int named[ROUNDS];
  u32 peers[ROUNDS];
#pragma unroll
  for (int r = 0; r < ROUNDS; r++) {
    const int i = first + 32 * r;
    named[r] = i < n ? named_by(expert, i, experts) : -1;
    peers[r] = __match_any_sync(ALL, named[r]);
    if (named[r] >= 0 && lane == __ffs(peers[r]) - 1) next[warp][named[r]] += __popc(peers[r]);
    __syncwarp();
  }
  __syncthreads();
  // From the warps' counts to where each warp's first choice of an expert goes.
  for (int e = threadIdx.x; e <= experts; e += THREADS) {
    int place = table[e * gridDim.x + blockIdx.x];
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      const int counted = next[w][e];
      next[w][e] = place;
      place += counted;
    }
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < ROUNDS; r++) {
    const int i = first + 32 * r;
    const int place =
        named[r] < 0 ? 0 : next[warp][named[r]] + __popc(peers[r] & ((1u << lane) - 1));
    __syncwarp();
    if (named[r] >= 0) {
      if (lane == __ffs(peers[r]) - 1) next[warp][named[r]] += __popc(peers[r]);
      const bool none = named[r] == experts;
      order[place] = none ? -1 : i;
      token[place] = none ? -1 : i / k;
      slot[i] = none ? -1 : place;
    }
    __syncwarp();
  }
}
