// Relative attention with memory: the gradients of keys and values, of P and D as relative_queries.cu has left them. A
// block stays with KEYS keys, 16 a warp, and passes over the queries that see them.
#include "relative_gradients.cuh"

// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DBLOCKS=3
// compile: -DTYPE=bf16 -DHEAD=48 -DKEYS=64 -DWARPS=4 -DSAME_LENGTH=1
// compile: -DTYPE=bf16 -DHEAD=128 -DKEYS=32 -DWARPS=4

#if ALIGNED
#define VECTORS (HEAD / VECTOR)
// Warps that have keys: queries come in as many rows as a block of the other kernel has.
#define KEY_WARPS (KEYS / 16)

// A block's share of ROWS rows, each thread always the same vectors of a tile.
__device__ __forceinline__ void bring(
    T* to, const T* from, long long stride, int first, int rows, int channels) {
  for (int k = threadIdx.x; k < ROWS * VECTORS; k += THREADS) {
    const int row = k / VECTORS, column = k % VECTORS * VECTOR;
    copy16(to + Rows<T, HEAD>::at(row, column, 0), from + (first + row) * stride + column,
        (u32)(first + row) < (u32)rows && column < channels);
  }
}

// Adds the bias to what this thread has brought.
__device__ __forceinline__ void add_bias(T* tile, const T* bias) {
  for (int k = threadIdx.x; k < ROWS * VECTORS; k += THREADS) {
    const int row = k / VECTORS, column = k % VECTORS * VECTOR;
    u32* at = reinterpret_cast<u32*>(tile + Rows<T, HEAD>::at(row, column, 0));
    const u32* more = reinterpret_cast<const u32*>(bias + column);
#pragma unroll
    for (int e = 0; e < 4; e++) {
      // As plus of mma.cuh rounds it.
      asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(at[e]) : "r"(at[e]), "r"(0x3f803f80u), "r"(more[e]));
    }
  }
}

__device__ __forceinline__ Left<bf16> left_of(const uint4& v) {
  Left<bf16> left;
  left.r[0] = v.x;
  left.r[1] = v.y;
  left.r[2] = v.z;
  left.r[3] = v.w;
  return left;
}

// A warp's tiles of a block's queries.
struct Kept {
  uint4 weights[WARPS];
  uint4 slopes[WARPS];
};

// dK and dV, together [B, K, 2, n, d]. The tiles are those of the keys that a query's block has passed over.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) relative_key_sums(
    const T* __restrict__ query, const T* __restrict__ content_bias, const int* first_key,
    const T* __restrict__ upstream, const uint4* __restrict__ weights,
    const uint4* __restrict__ slopes, T* __restrict__ key_value_gradient, int samples, int queries,
    int memory, int heads, int channels, float scale) {
  extern __shared__ __align__(16) unsigned char shared[];
  T* staged = reinterpret_cast<T*>(shared);
  T* gradients = staged + 2 * ROWS * ROW;
  T* bias = gradients + 2 * ROWS * ROW;

  const int warp = warp_of_block(), lane = threadIdx.x % 32;
  const int total = queries + memory;
  // The first keys are seen by the most queries.
  const int j = (int)(blockIdx.x / (samples * heads)) * KEYS;
  const int pair = (int)(blockIdx.x % (samples * heads));
  const int sample = pair / heads, head = pair % heads;
  const int first = first_key ? max(*first_key, 0) : 0;
  const long long row = (long long)heads * channels;
  const long long from = (long long)sample * queries * row + head * channels;
  const Tiles tiles = {queries, total};
  const bool has_keys = warp < KEY_WARPS;

  for (int k = threadIdx.x; k < HEAD; k += THREADS) {
    bias[k] = k < channels ? content_bias[(long long)head * channels + k] : from_float<T>(0.0f);
  }
  // Blocks of queries whose first key was no later: of a first key for all, or where a query sees M keys alone.
  const int begin = j < first / KEYS * KEYS ? queries : max(0, j - memory) / ROWS * ROWS;
  const int end = SAME_LENGTH ? min(queries, j + KEYS - 1) : queries;

  // Rows that see none of the keys were not passed over, and count nothing.
  auto fetch = [&](Kept& kept, int i0) {
#pragma unroll
    for (int t = 0; t < WARPS; t++) {
      const int i = i0 + 16 * t;
      kept.weights[t] = kept.slopes[t] = make_uint4(0, 0, 0, 0);
      if (has_keys && i < queries && i0 < end && j <= memory + i + 15) {
        const long long at = tiles.at(pair, i, j + 16 * warp) + lane;
        kept.weights[t] = __ldcs(weights + at);
        kept.slopes[t] = __ldcs(slopes + at);
      }
    }
  };
  auto start = [&](int i0, int stage) {
    bring(staged + stage * ROWS * ROW, query + from, row, i0, queries, channels);
    bring(gradients + stage * ROWS * ROW, upstream + from, row, i0, queries, channels);
  };

  float dk[HEAD / 8][4] = {}, dv[HEAD / 8][4] = {};
  Kept kept, next;
  if (begin < end) start(begin, 0);
  fetch(kept, begin);
  __syncthreads();
  for (int i0 = begin, stage = 0; i0 < end; i0 += ROWS, stage ^= 1) {
    T* q_tile = staged + stage * ROWS * ROW;
    const T* g_tile = gradients + stage * ROWS * ROW;
    wait_for_copies();
    add_bias(q_tile, bias);
    // Everybody's part of this tile is there, and nobody reads the last one any more.
    __syncthreads();
    if (i0 + ROWS < end) start(i0 + ROWS, stage ^ 1);
    fetch(next, i0 + ROWS);
#pragma unroll
    for (int t = 0; t < WARPS; t++) {
      multiply_rows(dk, left_of(kept.slopes[t]), q_tile + 16 * t * ROW, 0);
      multiply_rows(dv, left_of(kept.weights[t]), g_tile + 16 * t * ROW, 0);
    }
    kept = next;
  }
  if (has_keys) {
    T* to = key_value_gradient + (long long)sample * total * 2 * row + head * channels;
    store_rows(to, 2 * row, j + 16 * warp, total, 0, channels, dk, scale, scale);
    store_rows(to + row, 2 * row, j + 16 * warp, total, 0, channels, dv, 1, 1);
  }
}
#endif
