// Relative attention with memory, backward, in two kernels that compute the scores again: one stays with
// queries and makes their gradients, those of the biases and those of the distances, the other stays with
// keys and makes theirs and the values'. With P the weights, kept or dropped, and D their gradients:
//
//   dP = dropped(dO V^T),  D = P (dP - rowsum(dO O)),  dQ = scale (D K + D' R),  dK = scale D^T (Q + u),
//   dV = dropped(P)^T dO,  dR = scale D'^T (Q + v)
//
// D' is D by distances in place of keys.
#include "relative_attention.cuh"

// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DBLOCKS=2
// compile: -DTYPE=float -DHEAD=64 -DKEYS=32 -DWARPS=4 -DSAME_LENGTH=1
// compile: -DTYPE=bf16 -DHEAD=128 -DKEYS=32 -DWARPS=2 -DALIGNED=0 -DDROP=1
// compile: -DTYPE=float -DHEAD=16 -DKEYS=32 -DWARPS=4 -DDROP=1 -DPART=1

// Of KEYS rows of a product a warp has 16, of HEAD columns an equal share.
#define ROW_WARPS (KEYS / 16)
#define COLUMN_WARPS (WARPS / ROW_WARPS)
#define SHARE ((STEPS + COLUMN_WARPS - 1) / COLUMN_WARPS)
// Columns of D' that are being filled, a ring of their own, and elements of one's row.
#define WIDE (ROWS + KEYS)
#define WIDE_ROW (WIDE + PAD)
// Elements of a row of P or D where a warp keeps them for others.
#define WEIGHTS_ROW (KEYS + PAD)

#define KEY_RING (2 * ROWS + KEYS)

// What the forward and the first kernel know of a query.
struct Row {
  float log_sum;
  float delta;
};

// sum += a b, of b's 16 rows the first so many columns.
template <int Blocks> __device__ __forceinline__ void multiply_rows(
    float (&sum)[Blocks][4], const Left<T>& a, const T* rows, int columns) {
#pragma unroll
  for (int m = 0; m < Blocks; m += 2) {
    if (8 * m >= columns) break;
    Right<T> low, high;
    load_right_trans(low, high, rows + 8 * m, ROW);
    multiply(sum[m], a, low);
    multiply(sum[m + 1], a, high);
  }
}

// Whether one of a warp's queries from i on may see one of the keys from j on.
__device__ __forceinline__ bool sees(int i, int j, int queries, int memory) {
  return i < queries && j <= memory + i + 15 && !(SAME_LENGTH && j + KEYS - 1 <= i);
}

// 16 columns of dP, for the tile's keys from 8 n on.
__device__ __forceinline__ void weight_gradients(float (&low)[4], float (&high)[4],
    const Left<T> (&upstream)[STEPS], const T* values, int n) {
#pragma unroll
  for (int k = 0; k < 4; k++) low[k] = high[k] = 0;
#pragma unroll
  for (int k = 0; k < STEPS; k++) {
    Right<T> a, b;
    load_right(a, b, values + 8 * n * ROW + 16 * k, ROW);
    multiply(low, upstream[k], a);
    multiply(high, upstream[k], b);
  }
}

// dQ; partials fp32 [samples tiles, 2, n, d]: the biases' gradients, summed over a block's queries;
// distances fp32: dR is added to it, or where distances_stride is not 0, to a sample's own. deltas fp32
// [B, n, Q]: rowsum(dO O), for the other kernel. Tiles of queries from first_tile on, tiles of them.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) relative_query_gradients(
    const T* __restrict__ query, const T* __restrict__ key_value, const T* __restrict__ position,
    const T* __restrict__ content_bias, const T* __restrict__ position_bias, const int* first_key,
    const T* __restrict__ out, const T* __restrict__ upstream,
    const float* __restrict__ log_sums, float* __restrict__ deltas, T* __restrict__ query_gradient,
    float* __restrict__ distances, float* __restrict__ partials, long long distances_stride,
    int first_tile, int tiles, int samples, int queries, int memory, int heads, int channels,
    float scale, u64 seed, const long long* place_of_step, long long run, long long stride,
    long long offset, int layer, int operation, float p, float kept) {
  extern __shared__ __align__(16) unsigned char shared[];
  T* keys = reinterpret_cast<T*>(shared);
  T* values = keys + 2 * KEYS * ROW;
  T* ring = values + 2 * KEYS * ROW;
  T* staged = ring + RING * ROW;
  T* slopes = staged + ROWS * ROW;
  T* biases = slopes + ROWS * WIDE_ROW;
  unsigned char* strips = reinterpret_cast<unsigned char*>(biases + 2 * HEAD);

  const Sizes sizes = {queries, memory, heads, channels};
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int tile = first_tile + tiles - 1 - blockIdx.x / (samples * heads);
  const int sample = blockIdx.x % (samples * heads) / heads, head = blockIdx.x % heads;
  const int i0 = tile * ROWS, i = i0 + 16 * warp;
  const int first = first_key ? max(*first_key, 0) : 0;
  const int end = memory + min(queries, i0 + ROWS);
  const int begin = max(first, SAME_LENGTH ? i0 + 1 : 0) / KEYS * KEYS;
  const long long row = (long long)heads * channels;
  const long long from = (long long)sample * queries * row + head * channels;
  const T* kv = key_value + (long long)sample * (queries + memory) * 2 * row + head * channels;
  const T* r = position + head * channels;
  float* strip = reinterpret_cast<float*>(strips + warp * STRIP);
  const long long line = (long long)(sample * heads + head) * queries;
#if DROP
  const Draws draws = draws_of(seed, place_of_step, run, stride, offset, layer, operation);
#endif

  copy_rows<ROWS>(staged, query + from, row, i0, queries, channels);
#pragma unroll
  for (int w = 0; w < WARPS; w++) {
    copy_rows<16>(reinterpret_cast<T*>(strips + w * STRIP), upstream + from, row, i0 + 16 * w,
        queries, channels);
  }
  copy_biases(biases, content_bias, position_bias, head, channels);
  int window = i0 - begin + memory - KEYS;
  if (begin < end) {
    copy_rows<KEYS>(keys, kv, 2 * row, begin, queries + memory, channels);
    copy_rows<KEYS>(values, kv + row, 2 * row, begin, queries + memory, channels);
    copy_distances<ROWS + KEYS, RING>(ring, KEYS, r, window, sizes);
  }
  for (int k = threadIdx.x; k < ROWS * WIDE_ROW; k += THREADS) slopes[k] = from_float<T>(0.0f);

  // rowsum(dO O), of each of the warp's rows in turn.
  Row mine[2] = {{INFINITE, 0}, {INFINITE, 0}};
  for (int k = 0; k < 16 && i + k < queries; k++) {
    float sum = 0;
    const long long at = from + (i + k) * row;
    for (int c = lane; c < channels; c += 32) {
      sum = fmaf(to_float(upstream[at + c]), to_float(out[at + c]), sum);
    }
    sum = warp_sum(sum);
    if (k == lane / 4) mine[0].delta = sum;
    if (k == lane / 4 + 8) mine[1].delta = sum;
    if (lane == 0) deltas[line + i + k] = sum;
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    if (i + query_of(2 * half) < queries) {
      mine[half].log_sum = log_sums[line + i + query_of(2 * half)];
    }
  }
  wait_for_copies();
  __syncthreads();
  Left<T> content[STEPS], with_position[STEPS], gradient[STEPS];
  load_queries(content, with_position, staged + 16 * warp * ROW, biases);
#pragma unroll
  for (int k = 0; k < STEPS; k++) load_left(gradient[k], reinterpret_cast<T*>(strip) + 16 * k, ROW);
  __syncwarp();
  // dR needs the queries with their bias.
#pragma unroll
  for (int k = 0; k < STEPS; k++) {
    store_left(with_position[k], staged + 16 * warp * ROW + 16 * k, ROW);
  }

  const float factor = scale * LOG2E;
  float by_keys[HEAD / 8][4] = {}, by_distances[HEAD / 8][4] = {};
  Carry carry;
  int place = KEYS, column = 0;
  // As if all the block's queries were there: a tile behind the last key completes D'.
  const int last = begin < end ? memory + i0 + ROWS : begin;
  for (int j = begin, stage = 0; j < last; j += KEYS, stage ^= 1) {
    wait_for_copies();
    __syncthreads();
    const int before = wrapped(place + RING - KEYS, RING);
    if (j + KEYS < end) {
      const int other = (stage ^ 1) * KEYS * ROW;
      copy_rows<KEYS>(keys + other, kv, 2 * row, j + KEYS, queries + memory, channels);
      copy_rows<KEYS>(values + other, kv + row, 2 * row, j + KEYS, queries + memory, channels);
    }
    if (j + KEYS < last) copy_distances<KEYS, RING>(ring, before, r, window - KEYS, sizes);
    const int own = wrapped(place + 16 * warp, RING);
    const int own_column = wrapped(column + 16 * warp, WIDE);
    const bool seen = i < queries && j <= memory + i + 15;

    float s[KEYS / 8][4] = {};
    if (seen && j < end) {
      if (j == begin) products<RING>(carry.low, carry.high, with_position, ring, own + KEYS);
      const T* k_tile = keys + stage * KEYS * ROW;
      scores<RING>(s, carry, content, with_position, k_tile, ring, own, strip);
      if (has_hidden(i, j, first, memory)) hide(s, i, j, first, memory);
#pragma unroll
      for (int n = 0; n < KEYS / 8; n += 2) {
        float dp[2][4];
        weight_gradients(dp[0], dp[1], gradient, values + stage * KEYS * ROW, n);
#pragma unroll
        for (int m = 0; m < 2; m++) {
#pragma unroll
          for (int k = 0; k < 4; k++) {
            const float weight = exp2_fast(fmaf(s[n + m][k], factor, -mine[k / 2].log_sum));
#if DROP
            const u64 element = (u64)(line + i + query_of(k)) * (queries + memory);
            if (weight > 0) {
              dp[m][k] *= draw(draws, element + j + key_of(n + m, k)) >= p ? kept : 0.0f;
            }
#endif
            s[n + m][k] = weight * (dp[m][k] - mine[k / 2].delta);
          }
        }
        Left<T> slope;
        to_left(slope, s[n], s[n + 1]);
        multiply_rows(by_keys, slope, k_tile + 8 * n * ROW, HEAD);
      }
    }

    // D by distances: the columns of the last tile and of this one that are complete for the warp.
    const int askew = own_column + KEYS + query_of(0) - key_of(0, 0);
    T* slope_rows = slopes + 16 * warp * WIDE_ROW;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const int at = wrapped(askew + k / 2 * 8 - 8 * n - k % 2, WIDE);
        slope_rows[query_of(k) * WIDE_ROW + at] = from_float<T>(s[n][k]);
      }
    }
    __syncwarp();
    if (seen) {
#pragma unroll
      for (int x = KEYS; x > 0; x -= 16) {
        Left<T> slope;
        load_left(slope, slope_rows + wrapped(own_column + x, WIDE), WIDE_ROW);
        multiply_rows(by_distances, slope, ring + wrapped(own + x, RING) * ROW, HEAD);
      }
    }
    __syncthreads();

    // And those that are complete for the block.
    const int chunk = wrapped(column + ROWS, WIDE) + warp % ROW_WARPS * 16;
    const int share = warp / ROW_WARPS * SHARE * 16;
    float dr[2 * SHARE][4] = {};
    if (share < HEAD) {
#pragma unroll
      for (int k = 0; k < ROWS; k += 16) {
        Left<T> slope;
        load_left_trans(slope, slopes + k * WIDE_ROW + chunk, WIDE_ROW);
        multiply_rows(dr, slope, staged + k * ROW + share, HEAD - share);
      }
      float* to = distances + sample * distances_stride + head * channels;
      const int distance = window + ROWS + warp % ROW_WARPS * 16;
#pragma unroll
      for (int m = 0; m < 2 * SHARE; m += 2) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int t = distance + query_of(2 * half);
          const bool there = (u32)t < (u32)(queries + memory);
#if ALIGNED
          // Lanes trade pairs, so that each has four neighbours of the row.
          const bool odd = lane % 2;
          const float a0 = dr[m][2 * half], a1 = dr[m][2 * half + 1];
          const float b0 = dr[m + 1][2 * half], b1 = dr[m + 1][2 * half + 1];
          const float c0 = __shfl_xor_sync(0xffffffffu, odd ? a0 : b0, 1);
          const float c1 = __shfl_xor_sync(0xffffffffu, odd ? a1 : b1, 1);
          const int at = share + 8 * m + (odd ? 8 : 0) + lane % 4 / 2 * 4;
          if (there && at < channels) {
            float* four = to + t * row + at;
            if (odd) {
              add4(four, c0 * scale, c1 * scale, b0 * scale, b1 * scale);
            } else {
              add4(four, a0 * scale, a1 * scale, c0 * scale, c1 * scale);
            }
          }
#else
#pragma unroll
          for (int k = 0; k < 4; k++) {
            const int at = share + 8 * (m + k / 2) + key_of(0, k);
            if (there && at < channels) {
              atomicAdd(to + t * row + at, dr[m + k / 2][2 * half + k % 2] * scale);
            }
          }
#endif
        }
      }
    }
    place = before;
    column = wrapped(column + WIDE - KEYS, WIDE);
    window -= KEYS;
  }

  // The biases' gradients: sums over the block's rows.
  __syncthreads();
  float* sums = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int n = 0; n < HEAD / 8; n++) {
#pragma unroll
    for (int k = 0; k < 2; k++) {
      float u = by_keys[n][k] + by_keys[n][2 + k];
      float v = by_distances[n][k] + by_distances[n][2 + k];
#pragma unroll
      for (int d = 4; d < 32; d *= 2) {
        u += __shfl_xor_sync(0xffffffffu, u, d);
        v += __shfl_xor_sync(0xffffffffu, v, d);
      }
      if (lane < 4) {
        sums[2 * HEAD * warp + key_of(n, k)] = u;
        sums[2 * HEAD * warp + HEAD + key_of(n, k)] = v;
      }
      by_keys[n][k] += by_distances[n][k];
      by_keys[n][2 + k] += by_distances[n][2 + k];
    }
  }
  __syncthreads();
  const long long tiles_of_all = (queries + ROWS - 1) / ROWS;
  float* to = partials + (sample * tiles_of_all + tile) * 2 * row + head * channels;
  for (int k = threadIdx.x; k < 2 * HEAD; k += THREADS) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += sums[2 * HEAD * w + k];
    if (k % HEAD < channels) to[k / HEAD * row + k % HEAD] = sum * scale;
  }
  store_rows(query_gradient + from, row, i, queries, 0, channels, by_keys, scale, scale);
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
  const int warp = threadIdx.x / 32;
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
        for (int k = 0; k < STEPS; k++) store_left(content[k], own + 16 * k, ROW);
        const int at = wrapped(place + 16 * warp, KEY_RING);
        Carry carry;
        products<KEY_RING>(carry.low, carry.high, with_position, ring, at + KEYS);
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
        load_left(gradient[k], g_tile + 16 * warp * ROW + 16 * k, ROW);
      }
#pragma unroll
      for (int n = 0; n < KEYS / 8; n += 2) {
        float dp[2][4];
        weight_gradients(dp[0], dp[1], gradient, values, n);
#pragma unroll
        for (int m = 0; m < 2; m++) {
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
        Left<T> tile;
        to_left(tile, s[n], s[n + 1]);
        store_left(tile, weights + 8 * n, WEIGHTS_ROW);
        to_left(tile, dp[0], dp[1]);
        store_left(tile, slopes + 8 * n, WEIGHTS_ROW);
      }
    }
    __syncthreads();

    if (share < HEAD) {
#pragma unroll
      for (int w = 0; w < WARPS; w++) {
        if (!sees(i0 + 16 * w, j, queries, memory)) continue;
        const T* at = reinterpret_cast<const T*>(strips + w * STRIP) + own_keys;
        Left<T> left;
        load_left_trans(left, at, WEIGHTS_ROW);
        multiply_rows(dv, left, g_tile + 16 * w * ROW + share, HEAD - share);
        load_left_trans(left, at + 16 * WEIGHTS_ROW, WEIGHTS_ROW);
        multiply_rows(dk, left, q_tile + 16 * w * ROW + share, HEAD - share);
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
