// Relative attention with memory: the gradients of keys and values. A block stays with KEYS keys and
// passes over the queries that see them, 16 a warp; P and D go through shared memory, from the warps of
// queries to those of keys.
#include "relative_gradients.cuh"

// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4
// compile: -DTYPE=float -DHEAD=64 -DKEYS=32 -DWARPS=4 -DSAME_LENGTH=1
// compile: -DTYPE=bf16 -DHEAD=128 -DKEYS=32 -DWARPS=4 -DALIGNED=0 -DDROP=1
// compile: -DTYPE=float -DHEAD=112 -DKEYS=16 -DWARPS=1 -DDROP=1 -DPART=1

// Rows of the ring of distances: a step on, they are the same but for a block's queries of them.
#define KEY_RING (2 * ROWS + KEYS)

// Whether one of a warp's queries from i on may see one of the keys from j on.
__device__ __forceinline__ bool sees(int i, int j, int queries, int memory) {
  return i < queries && j <= memory + i + 15 && !(SAME_LENGTH && j + KEYS - 1 <= i);
}

// dK and dV, together [B, K, 2, n, d]. A block has KEYS keys of one head of one sample.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) relative_key_gradients(
    const T* __restrict__ query, const T* __restrict__ key_value, const T* __restrict__ position,
    const T* __restrict__ content_bias, const T* __restrict__ position_bias, const int* first_key,
    const T* __restrict__ upstream, const float* __restrict__ log_sums,
    const float* __restrict__ deltas, T* __restrict__ key_value_gradient, int samples,
    int queries, int memory, int heads, int channels, float scale, u64 seed,
    const long long* place_of_step, long long run, long long stride, long long offset, int layer,
    int operation, float p, float kept) {
  extern __shared__ __align__(16) unsigned char shared[];
  T* keys = reinterpret_cast<T*>(shared);
  T* values = keys + KEYS * ROW;
  T* staged = values + KEYS * ROW;
  T* gradients = staged + 2 * ROWS * ROW;
  T* ring = gradients + 2 * ROWS * ROW;
  T* biases = ring + (2 * ROWS + KEYS) * ROW;
  unsigned char* strips = reinterpret_cast<unsigned char*>(biases + 2 * HEAD);

  const Sizes sizes = {queries, memory, heads, channels};
  const int warp = warp_of_block();
  const int total = queries + memory;
  // The first keys are seen by the most queries.
  const int j = (int)(blockIdx.x / (samples * heads)) * KEYS;
  const int sample = blockIdx.x % (samples * heads) / heads, head = blockIdx.x % heads;
  const int first = first_key ? max(*first_key, 0) : 0;
  const long long row = (long long)heads * channels;
  const long long from = (long long)sample * queries * row + head * channels;
  const long long kv = (long long)sample * total * 2 * row + head * channels;
  const T* r = position + head * channels;
  float* strip = reinterpret_cast<float*>(strips + warp * STRIP);
  const long long line = (long long)(sample * heads + head) * queries;
  const int begin = max(j - memory, 0) / ROWS * ROWS;
  const int end = j + KEYS <= first ? begin : SAME_LENGTH ? min(queries, j + KEYS - 1) : queries;
#if DROP
  const Draws draws = draws_of(seed, place_of_step, run, stride, offset, layer, operation);
#endif

  copy_biases(biases, content_bias, position_bias, head, channels);
  int window = begin - j + memory - KEYS;
  if (begin < end) {
    copy_rows<KEYS>(keys, key_value + kv, 2 * row, j, total, channels);
    copy_rows<KEYS>(values, key_value + kv + row, 2 * row, j, total, channels);
    copy_rows<ROWS>(staged, query + from, row, begin, queries, channels);
    copy_rows<ROWS>(gradients, upstream + from, row, begin, queries, channels);
    copy_distances<ROWS + KEYS, KEY_RING>(ring, 0, r, window, sizes);
  }

  const float factor = scale * LOG2E;
  const int own_keys = warp % ROW_WARPS * 16, share = warp / ROW_WARPS * SHARE * 16;
  float dk[2 * SHARE][4] = {}, dv[2 * SHARE][4] = {};
  int place = 0;
  for (int i0 = begin, stage = 0; i0 < end; i0 += ROWS, stage ^= 1) {
    wait_for_copies();
    __syncthreads();
    if (i0 + ROWS < end) {
      const int other = (stage ^ 1) * ROWS * ROW;
      copy_rows<ROWS>(staged + other, query + from, row, i0 + ROWS, queries, channels);
      copy_rows<ROWS>(gradients + other, upstream + from, row, i0 + ROWS, queries, channels);
      copy_distances<ROWS, KEY_RING>(
          ring, wrapped(place + ROWS + KEYS, KEY_RING), r, window + ROWS + KEYS, sizes);
    }
    const int i = i0 + 16 * warp;
    T* q_tile = staged + stage * ROWS * ROW;
    const T* g_tile = gradients + stage * ROWS * ROW;
    // P and D of the warp's queries lie in its own memory, where its products were.
    T* weights = reinterpret_cast<T*>(strip);
    T* slopes = weights + 16 * WEIGHTS_ROW;
    if (sees(i, j, queries, memory)) {
      float s[KEYS / 8][4];
      {
        Left<T> content[STEPS], with_position[STEPS];
        T* own = q_tile + 16 * warp * ROW;
        load_queries(content, with_position, own, biases);
        __syncwarp();
        // dK needs the queries with their bias.
#pragma unroll
        for (int k = 0; k < STEPS; k++) store_left<HEAD>(content[k], own, 16 * k);
        const int at = wrapped(place + 16 * warp, KEY_RING);
        float carry[2][4];
        first_carry<KEY_RING>(carry, with_position, ring, at);
        scores<KEY_RING>(s, carry, content, with_position, keys, ring, at, strip);
      }
      if (has_hidden(i, j, first, memory)) hide(s, i, j, first, memory);
      Row mine[2] = {{INFINITE, 0}, {INFINITE, 0}};
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int at = i + query_of(2 * half);
        if (at < queries) mine[half] = {log_sums[line + at], deltas[line + at]};
      }
      Left<T> gradient[STEPS];
#pragma unroll
      for (int k = 0; k < STEPS; k++) {
        load_left<HEAD>(gradient[k], g_tile + 16 * warp * ROW, 16 * k);
      }
#pragma unroll
      for (int n = 0; n < KEYS / 8; n += AT_ONCE) {
        float dp[AT_ONCE][4] = {};
        products(dp, gradient, [=](int m) { return values + (8 * n + m) * ROW; });
#pragma unroll
        for (int m = 0; m < AT_ONCE; m++) {
#pragma unroll
          for (int k = 0; k < 4; k++) {
            float weight = exp2_fast(fmaf(s[n + m][k], factor, -mine[k / 2].log_sum));
            s[n + m][k] = weight;
#if DROP
            if (weight > 0) {
              const u64 element = (u64)(line + i + query_of(k)) * total;
              const float keep =
                  draw(draws, element + j + key_of(n + m, k)) >= p ? kept : 0.0f;
              dp[m][k] *= keep;
              s[n + m][k] *= keep;
            }
#endif
            dp[m][k] = weight * (dp[m][k] - mine[k / 2].delta);
          }
        }
#pragma unroll
        for (int m = 0; m < AT_ONCE; m += 2) {
          Left<T> tile;
          to_left(tile, s[n + m], s[n + m + 1]);
          store_left<KEYS>(tile, weights, 8 * (n + m));
          to_left(tile, dp[m], dp[m + 1]);
          store_left<KEYS>(tile, slopes, 8 * (n + m));
        }
      }
    }
    __syncthreads();

    if (share < HEAD) {
#pragma unroll
      for (int w = 0; w < WARPS; w++) {
        if (!sees(i0 + 16 * w, j, queries, memory)) continue;
        const T* at = reinterpret_cast<const T*>(strips + w * STRIP);
        Left<T> left;
        load_left_trans<KEYS>(left, at, own_keys);
        multiply_rows(dv, left, g_tile + 16 * w * ROW, share);
        load_left_trans<KEYS>(left, at + 16 * WEIGHTS_ROW, own_keys);
        multiply_rows(dk, left, q_tile + 16 * w * ROW, share);
      }
    }
    place = wrapped(place + ROWS, KEY_RING);
    window += ROWS;
  }

  if (share < HEAD) {
    T* to = key_value_gradient + kv;
    store_rows(to, 2 * row, j + own_keys, total, share, channels, dk, scale, scale);
    store_rows(to + row, 2 * row, j + own_keys, total, share, channels, dv, 1, 1);
  }
}
