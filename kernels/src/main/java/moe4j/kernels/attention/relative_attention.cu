// Relative attention with memory, forward: a block has 16 queries a warp of one head of one sample, and
// passes over the keys that they see, with a softmax on the way (Dao et al. 2022).
#include "relative_attention.cuh"

// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DASKEW=32 -DBLOCKS=3 -DKEPT=1
// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DASKEW=32 -DBLOCKS=3
// compile: -DTYPE=float -DHEAD=64 -DKEYS=32 -DWARPS=4 -DSAME_LENGTH=1
// compile: -DTYPE=bf16 -DHEAD=128 -DKEYS=32 -DWARPS=4 -DALIGNED=0 -DDROP=1
// compile: -DTYPE=float -DHEAD=112 -DKEYS=16 -DWARPS=1 -DDROP=1 -DPART=1

// out [B, Q, n, d]; log_sums fp32 [B, n, Q], the base-2 logarithms of the sums of 2^(score log2(e)), inf
// for a query that sees no key. With KEPT also weights, 2^(score log2(e) - b), in bf16 tiles as accumulators have them,
// and bases, each query's b for KEYS keys (Tiles). Query [B, Q, n, d], key_value [B, K, 2, n, d], position [K, n, d],
// biases [n, d], first int32 or null.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) relative_forward(
    const T* __restrict__ query, const T* __restrict__ key_value, const T* __restrict__ position,
    const T* __restrict__ content_bias, const T* __restrict__ position_bias, const int* first_key,
    T* __restrict__ out, float* __restrict__ log_sums, uint4* __restrict__ weights,
    float* __restrict__ bases, int samples, int queries, int memory,
    int heads, int channels, float scale, u64 seed, const long long* place_of_step, long long run,
    long long stride, long long offset, int layer, int operation, float p, float kept) {
  extern __shared__ __align__(16) unsigned char shared[];
  T* keys = reinterpret_cast<T*>(shared);
  T* values = keys + 2 * KEYS * ROW;
  T* ring = values + 2 * KEYS * ROW;
  T* biases = ring + RING * ROW;
  unsigned char* strips = reinterpret_cast<unsigned char*>(biases + 2 * HEAD);

  const Sizes sizes = {queries, memory, heads, channels};
  const int warp = warp_of_block();
  // The last queries see the most keys, so they come first.
  const int tile = (queries + ROWS - 1) / ROWS - 1 - blockIdx.x / (samples * heads);
  const int sample = blockIdx.x % (samples * heads) / heads, head = blockIdx.x % heads;
  const int i0 = tile * ROWS, i = i0 + 16 * warp;
  const int first = first_key ? max(*first_key, 0) : 0;
  const int end = memory + min(queries, i0 + ROWS);
  const int begin = max(first, SAME_LENGTH ? i0 + 1 : 0) / KEYS * KEYS;
  const long long row = (long long)heads * channels;
  const T* q = query + (long long)sample * queries * row + head * channels;
  const T* kv = key_value + (long long)sample * (queries + memory) * 2 * row + head * channels;
  const T* r = position + head * channels;
  float* strip = reinterpret_cast<float*>(strips + warp * STRIP);
#if KEPT
  const Tiles tiles = {queries, queries + memory};
#endif
#if DROP
  const Draws draws = draws_of(seed, place_of_step, run, stride, offset, layer, operation);
#endif

  // The warps' own memory is not needed before their queries are in registers.
  T* staged = reinterpret_cast<T*>(strips);
#pragma unroll
  for (int w = 0; w < WARPS; w++) {
    copy_rows<16>(staged + w * (STRIP / (int)sizeof(T)), q, row, i0 + 16 * w, queries, channels);
  }
  copy_biases(biases, content_bias, position_bias, head, channels);
  int window = i0 - begin + memory - KEYS;
  if (begin < end) {
    copy_rows<KEYS>(keys, kv, 2 * row, begin, queries + memory, channels);
    copy_rows<KEYS>(values, kv + row, 2 * row, begin, queries + memory, channels);
    copy_distances<ROWS + KEYS, RING>(ring, KEYS, r, window, sizes);
  }
  wait_for_copies();
  __syncthreads();
  Left<T> content[STEPS], with_position[STEPS];
  load_queries(content, with_position, reinterpret_cast<T*>(strip), biases);
  __syncwarp();

  const float factor = scale * LOG2E;
  float sums[HEAD / 8][4] = {};
  float most[2] = {-INFINITE, -INFINITE}, total[2] = {};
  float carry[2][4];
  int place = KEYS;
  for (int j = begin, stage = 0; j < end; j += KEYS, stage ^= 1) {
    wait_for_copies();
    // Everybody's part of this tile is there, and nobody reads the last one any more.
    __syncthreads();
    const int before = wrapped(place + RING - KEYS, RING);
    window -= KEYS;
    if (j + KEYS < end) {
      const int other = (stage ^ 1) * KEYS * ROW;
      copy_rows<KEYS>(keys + other, kv, 2 * row, j + KEYS, queries + memory, channels);
      copy_rows<KEYS>(values + other, kv + row, 2 * row, j + KEYS, queries + memory, channels);
      copy_distances<KEYS, RING>(ring, before, r, window, sizes);
    }
    const int own = wrapped(place + 16 * warp, RING);
    place = before;
    if (i >= queries || j > memory + i + 15) continue;

    float s[KEYS / 8][4];
    if (j == begin) first_carry<RING>(carry, with_position, ring, own);
    scores<RING>(s, carry, content, with_position, keys + stage * KEYS * ROW, ring, own, strip);
    if (has_hidden(i, j, first, memory)) hide(s, i, j, first, memory);

#pragma unroll
    for (int half = 0; half < 2; half++) {
      float highest = most[half];
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++) {
        highest = fmaxf(highest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      }
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
      // Where nothing has been seen yet, any finite number will do.
      const float base = highest == -INFINITE ? 0.0f : highest * factor;
      const float shrunk = exp2_fast(fmaf(most[half], factor, -base));
      most[half] = highest;
#if KEPT
      if (threadIdx.x % 4 == 0) {
        bases[tiles.number_at(sample * heads + head, i, j) + query_of(2 * half)] = base;
      }
#endif
      float all = 0;
#pragma unroll
      for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
        for (int k = 2 * half; k < 2 * half + 2; k++) {
          s[n][k] = exp2_fast(fmaf(s[n][k], factor, -base));
          all += s[n][k];
        }
      }
      total[half] = fmaf(total[half], shrunk, all);
#pragma unroll
      for (int n = 0; n < HEAD / 8; n++) {
        sums[n][2 * half] *= shrunk;
        sums[n][2 * half + 1] *= shrunk;
      }
    }
#if KEPT
    uint4* to = weights + tiles.at(sample * heads + head, i, j) + threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n += 2) {
      to[n / 2 * 32] = make_uint4(pack(s[n][0], s[n][1]), pack(s[n][2], s[n][3]),
          pack(s[n + 1][0], s[n + 1][1]), pack(s[n + 1][2], s[n + 1][3]));
    }
#endif
#if DROP
    for (int n = 0; n < KEYS / 8; n++) {
      for (int k = 0; k < 4; k++) {
        const int at = i + query_of(k);
        const u64 element = ((u64)(sample * heads + head) * queries + at) * (queries + memory);
        if (s[n][k] > 0) s[n][k] *= draw(draws, element + j + key_of(n, k)) >= p ? kept : 0.0f;
      }
    }
#endif
    const T* v = values + stage * KEYS * ROW;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n += 2) {
      Left<T> weights;
      to_left(weights, s[n], s[n + 1]);
#pragma unroll
      for (int m = 0; m < HEAD / 8; m += 2) {
        Right<T> a, b;
        load_right_trans<HEAD>(a, b, v + 8 * n * ROW, 8 * m);
        multiply(sums[m], weights, a);
        multiply(sums[m + 1], weights, b);
      }
    }
  }

  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float all = total[half];
    all += __shfl_xor_sync(0xffffffffu, all, 1);
    all += __shfl_xor_sync(0xffffffffu, all, 2);
    inverse[half] = all > 0 ? 1 / all : 0;
    const int at = i + query_of(2 * half);
    if (threadIdx.x % 4 == 0 && at < queries) {
      log_sums[(long long)(sample * heads + head) * queries + at] =
          all > 0 ? fmaf(most[half], factor, log2f(all)) : INFINITE;
    }
  }
  store_rows(out + (long long)sample * queries * row + head * channels, row, i, queries, 0,
      channels, sums, inverse[0], inverse[1]);
}
