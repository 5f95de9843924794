// Relative attention with memory: the gradients of keys and values, of P and D as relative_queries.cu has left them, or
// of D and what the forward has left in P's place. A block stays with KEYS keys, 16 a warp, and passes over the queries
// that see them.
#include "relative_gradients.cuh"

// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DBLOCKS=4 -DGIVEN=1
// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DBLOCKS=4
// compile: -DTYPE=bf16 -DHEAD=48 -DKEYS=64 -DWARPS=4 -DBLOCKS=4 -DSAME_LENGTH=1 -DGIVEN=1
// compile: -DTYPE=bf16 -DHEAD=48 -DKEYS=64 -DWARPS=4 -DBLOCKS=4 -DSAME_LENGTH=1
// compile: -DTYPE=bf16 -DHEAD=128 -DKEYS=32 -DWARPS=4 -DGIVEN=1
// compile: -DTYPE=bf16 -DHEAD=128 -DKEYS=32 -DWARPS=4

#if ALIGNED
// Warps that have keys: queries come in as many rows as a block of the other kernel has.
#define KEY_WARPS (KEYS / 16)

__device__ __forceinline__ Left<bf16> left_of(const uint4& v) {
  Left<bf16> left;
  left.r[0] = v.x;
  left.r[1] = v.y;
  left.r[2] = v.z;
  left.r[3] = v.w;
  return left;
}

__device__ __forceinline__ u32 scaled(u32 pair, float factor) {
  return pack(__uint_as_float(pair << 16) * factor, __uint_as_float(pair & 0xffff0000u) * factor);
}

// P of 16 queries and 16 keys, turned, of what the forward has left, by the factors of a lane's two queries.
__device__ __forceinline__ uint4 weights_of(const uint4& given, float low, float high) {
  Left<bf16> weights;
  weights.r[0] = scaled(given.x, low);
  weights.r[1] = scaled(given.y, high);
  weights.r[2] = scaled(given.z, low);
  weights.r[3] = scaled(given.w, high);
  return turned(weights);
}

// 16 rows of a head, times a factor, to the rows from i on that there are. Lanes have two neighbours of a row each, too
// few for a store: so they go through shared memory, 16 rows of the warp's own, and from there in vectors.
__device__ __forceinline__ void store_vectors(T* to, long long stride, int i, int rows, int channels,
    const float (&sum)[HEAD / 8][4], float factor, T* own) {
#pragma unroll
  for (int k = 0; k < STEPS; k++) {
    float low[4], high[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
      low[e] = sum[2 * k][e] * factor;
      high[e] = sum[2 * k + 1][e] * factor;
    }
    Left<T> part;
    to_left(part, low, high);
    store_left<HEAD>(part, own, 16 * k);
  }
  __syncwarp();
  constexpr int VECTORS = HEAD / VECTOR;
#pragma unroll
  for (int k = 0; k < VECTORS / 2; k++) {
    const int at = 32 * k + threadIdx.x % 32, row = at / VECTORS, column = at % VECTORS * VECTOR;
    if (i + row < rows && column < channels) {
      *reinterpret_cast<uint4*>(to + (i + row) * stride + column) =
          *reinterpret_cast<const uint4*>(own + Rows<T, HEAD>::at(row, column, 0));
    }
  }
}

// dK and dV, together [B, K, 2, n, d]. The tiles are those of the keys that a query's block has passed over. With GIVEN
// weights and bases are the forward's; without, weights are P, turned, and bases and log_sums are not read.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) relative_key_sums(
    const T* __restrict__ query, const T* __restrict__ content_bias, const int* first_key,
    const T* __restrict__ upstream, const uint4* __restrict__ weights,
    const uint4* __restrict__ slopes, const float* __restrict__ bases,
    const float* __restrict__ log_sums, T* __restrict__ key_value_gradient, int samples, int queries,
    int memory, int heads, int channels, float scale) {
  extern __shared__ __align__(16) unsigned char shared[];
  T* staged = reinterpret_cast<T*>(shared);
  T* gradients = staged + 2 * ROWS * ROW;
#if GIVEN
  float* factors = reinterpret_cast<float*>(gradients + 2 * ROWS * ROW);
#endif

  const int warp = warp_of_block(), lane = threadIdx.x % 32;
  const int total = queries + memory;
  // The first keys are seen by the most queries.
  const int j = (int)(blockIdx.x / (samples * heads)) * KEYS;
  const int pair = (int)(blockIdx.x % (samples * heads));
  const int sample = pair / heads, head = pair % heads;
  const int first = first_key ? max(*first_key, 0) : 0;
  const long long row = (long long)heads * channels;
  const long long from = (long long)sample * queries * row + head * channels;
  const bool has_keys = KEY_WARPS == WARPS || warp < KEY_WARPS;

  // Blocks of queries whose first key was no later: of a first key for all, or where a query sees M keys alone.
  const int begin = j < first / KEYS * KEYS ? queries : max(0, j - memory) / ROWS * ROWS;
  const int end = SAME_LENGTH ? min(queries, j + KEYS - 1) : queries;

  // Whether a query's warp has passed over the keys. What it has not written counts nothing.
  auto passed = [&](int i) { return i < queries && j <= memory + (i | 15); };

  const Tiles tiles = {queries, total};
  const long long own = tiles.at(pair, 0, j + 16 * warp) + lane;
  const long long step = tiles.at(0, 16, 0);
  // The warp's tiles of a block's queries: each is needed once, and the next block's takes its place at once.
  uint4 weight[WARPS], slope[WARPS];
  auto fetch = [&](int i0, int t) {
    weight[t] = slope[t] = make_uint4(0, 0, 0, 0);
    if (passed(i0 + 16 * t)) {
      const long long at = own + (i0 / 16 + t) * step;
      weight[t] = __ldcs(weights + at);
      slope[t] = __ldcs(slopes + at);
    }
  };
#if GIVEN
  // A thread's query of the next ones.
  float base = 0, log_sum = INFINITE;
  auto fetch_sums = [&](int i0) {
    const int i = i0 + threadIdx.x;
    const bool there = threadIdx.x < ROWS && i0 < end && passed(i);
    base = there ? bases[tiles.number_at(pair, i, j)] : 0;
    log_sum = there ? log_sums[(long long)pair * queries + i] : INFINITE;
  };
  fetch_sums(begin);
#endif
  auto start = [&](int i0, int stage) {
    copy_rows<ROWS>(staged + stage * ROWS * ROW, query + from, row, i0, queries, channels);
    copy_rows<ROWS>(gradients + stage * ROWS * ROW, upstream + from, row, i0, queries, channels);
  };

  // D's sums over the queries, by a product with ones: D^T (Q + u) is D^T Q and these times u, so that nobody has to
  // pass over the queries to add the bias.
  float dk[HEAD / 8][4] = {}, dv[HEAD / 8][4] = {}, sums[4] = {};
  const Right<T> ones = {{0x3f803f80u, 0x3f803f80u}};
  if (begin < end) start(begin, 0);
  if (has_keys && begin < end) {
#pragma unroll
    for (int t = 0; t < WARPS; t++) fetch(begin, t);
  }
  for (int i0 = begin, stage = 0; i0 < end; i0 += ROWS, stage ^= 1) {
    const T* q_tile = staged + stage * ROWS * ROW;
    const T* g_tile = gradients + stage * ROWS * ROW;
    wait_for_copies();
#if GIVEN
    if (threadIdx.x < ROWS) factors[stage * ROWS + threadIdx.x] = factor_of(base, log_sum);
#endif
    // Everybody's part of this tile is there, and nobody reads the last one any more.
    __syncthreads();
    if (i0 + ROWS < end) start(i0 + ROWS, stage ^ 1);
#if GIVEN
    fetch_sums(i0 + ROWS);
#endif
    if (has_keys) {
#pragma unroll
      for (int t = 0; t < WARPS; t++) {
        multiply(sums, left_of(slope[t]), ones);
        multiply_rows(dk, left_of(slope[t]), q_tile + 16 * t * ROW, 0);
#if GIVEN
        const float* of_queries = factors + stage * ROWS + 16 * t;
        weight[t] = weights_of(weight[t], of_queries[query_of(0)], of_queries[query_of(2)]);
#endif
        multiply_rows(dv, left_of(weight[t]), g_tile + 16 * t * ROW, 0);
        if (i0 + ROWS < end) fetch(i0 + ROWS, t);
      }
    }
  }

  // The results go where the queries were.
  __syncthreads();
  if (has_keys) {
    const T* bias = content_bias + (long long)head * channels;
#pragma unroll
    for (int n = 0; n < HEAD / 8; n++) {
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const int column = key_of(n, k);
        if (column < channels) dk[n][k] = fmaf(sums[k / 2 * 2], to_float(bias[column]), dk[n][k]);
      }
    }
    T* to = key_value_gradient + (long long)sample * total * 2 * row + head * channels;
    const int key = j + 16 * warp;
    store_vectors(to, 2 * row, key, total, channels, dk, scale, staged + 16 * warp * ROW);
    store_vectors(to + row, 2 * row, key, total, channels, dv, 1, gradients + 16 * warp * ROW);
  }
}
#endif
