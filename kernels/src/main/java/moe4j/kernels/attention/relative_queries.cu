// Relative attention with memory: the gradients of queries, biases and distances. A block stays with 16
// queries a warp, as forwards. D goes into a ring in shared memory, by distances: what a warp has
// completed of it is multiplied by the distances' rows, what the block has, by the queries.
#include "relative_gradients.cuh"

// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DKEPT=1 -DGIVEN=1 -DKEPT_WEIGHTS=0
// compile: -DTYPE=bf16 -DHEAD=48 -DKEYS=64 -DWARPS=4 -DKEPT=1 -DGIVEN=1 -DKEPT_WEIGHTS=0 -DSAME_LENGTH=1
// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DGIVEN=1
// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DKEPT=1
// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4 -DKEPT=1 -DGIVEN=1 -DDROP=1
// compile: -DTYPE=bf16 -DHEAD=64 -DKEYS=64 -DWARPS=4
// compile: -DTYPE=float -DHEAD=64 -DKEYS=32 -DWARPS=4 -DSAME_LENGTH=1
// compile: -DTYPE=bf16 -DHEAD=128 -DKEYS=32 -DWARPS=4 -DALIGNED=0 -DDROP=1
// compile: -DTYPE=float -DHEAD=112 -DKEYS=16 -DWARPS=1 -DDROP=1 -DPART=1

// Columns of D' that are being filled, a ring of their own, and elements of one's row.
#define WIDE (ROWS + KEYS)
#define WIDE_ROW (Rows<T, WIDE>::LENGTH)

#if GIVEN
// What the forward has left of a warp's tile: weights, and the bases of a lane's two rows.
struct Given {
  uint4 weights[KEYS / 16];
  float bases[2];
};

__device__ __forceinline__ float weight_of(const Given& given, int block, int k) {
  const uint4& v = given.weights[block / 2];
  const u32 pair = block % 2 ? (k < 2 ? v.z : v.w) : (k < 2 ? v.x : v.y);
  return __uint_as_float(k % 2 ? pair & 0xffff0000u : pair << 16);
}
#endif

// The product of row i of both, to every two lanes; 0 where there is no such row.
__device__ __forceinline__ float row_products(
    const T* a, const T* b, long long stride, int i, int rows, int channels) {
  float sum = 0;
  if (i < rows) {
#if ALIGNED
#pragma unroll
    for (int c = threadIdx.x % 2 * VECTOR; c < HEAD; c += 2 * VECTOR) {
      if (c < channels) {
        const uint4 x = *reinterpret_cast<const uint4*>(a + i * stride + c);
        const uint4 y = *reinterpret_cast<const uint4*>(b + i * stride + c);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) {
          sum = fmaf(to_float(reinterpret_cast<const T*>(&x)[k]),
              to_float(reinterpret_cast<const T*>(&y)[k]), sum);
        }
      }
    }
#else
    for (int c = threadIdx.x % 2; c < channels; c += 2) {
      sum = fmaf(to_float(a[i * stride + c]), to_float(b[i * stride + c]), sum);
    }
#endif
  }
  return sum + __shfl_xor_sync(0xffffffffu, sum, 1);
}

// dQ; partials fp32 [samples tiles, 2, n, d]: the biases' gradients, summed over a block's queries;
// distances fp32: dR is added to it, or where distances_stride is not 0, to a sample's own. deltas fp32
// [B, n, Q]: rowsum(dO O), for the other kernel; with KEPT also D, with KEPT_WEIGHTS also P, in tiles
// (relative_gradients.cuh), with GIVEN of what the forward has left. Tiles of queries from first_tile on, tiles of
// them.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) relative_query_gradients(
    const T* __restrict__ query, const T* __restrict__ key_value, const T* __restrict__ position,
    const T* __restrict__ content_bias, const T* __restrict__ position_bias, const int* first_key,
    const T* __restrict__ out, const T* __restrict__ upstream,
    const float* __restrict__ log_sums, float* __restrict__ deltas,
    const uint4* __restrict__ given_weights, const float* __restrict__ given_bases,
    uint4* __restrict__ kept_weights, uint4* __restrict__ kept_slopes, T* __restrict__ query_gradient,
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
  const int warp = warp_of_block(), lane = threadIdx.x % 32;
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
  for (int k = threadIdx.x; k < ROWS * WIDE_ROW / VECTOR; k += THREADS) {
    reinterpret_cast<uint4*>(slopes)[k] = make_uint4(0, 0, 0, 0);
  }

  // rowsum(dO O), two lanes a row.
  const float delta = row_products(upstream + from, out + from, row, i + lane / 2, queries, channels);
  if (lane % 2 == 0 && i + lane / 2 < queries) deltas[line + i + lane / 2] = delta;
  Row mine[2] = {{INFINITE, __shfl_sync(0xffffffffu, delta, lane / 4 * 2)},
      {INFINITE, __shfl_sync(0xffffffffu, delta, 16 + lane / 4 * 2)}};
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
  for (int k = 0; k < STEPS; k++) {
    load_left<HEAD>(gradient[k], reinterpret_cast<T*>(strip), 16 * k);
  }
  __syncwarp();
  // dR needs the queries with their bias.
#pragma unroll
  for (int k = 0; k < STEPS; k++) {
    store_left<HEAD>(with_position[k], staged + 16 * warp * ROW, 16 * k);
  }

#if KEPT || GIVEN
  const Tiles in_memory = {queries, queries + memory};
  const long long own_tiles = in_memory.at(sample * heads + head, i, 0) + lane;
#endif
#if GIVEN
  // What is used of a tile makes room for the next one's, which is under way from then on.
  Given given;
  auto has_given = [&](int j) { return i < queries && j < end && j <= memory + i + 15; };
  auto fetch = [&](int j, int part) {
    given.weights[part] = __ldcs(given_weights + own_tiles + j / 16 * 32 + 32 * part);
  };
  auto fetch_bases = [&](int j) {
    const float* bases = given_bases + in_memory.number_at(sample * heads + head, i, j);
    given.bases[0] = bases[query_of(0)];
    given.bases[1] = bases[query_of(2)];
  };
  if (has_given(begin)) {
    fetch_bases(begin);
#pragma unroll
    for (int part = 0; part < KEYS / 16; part++) fetch(begin, part);
  }
#else
  const float factor = scale * LOG2E;
  float carry[2][4];
#endif
  float by_keys[HEAD / 8][4] = {}, by_distances[HEAD / 8][4] = {};
  int place = KEYS, column = 0;
  // As if all the block's queries were there: a tile after the last key completes D'.
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
      const T* k_tile = keys + stage * KEYS * ROW;
#if GIVEN
      const float factors[2] = {factor_of(given.bases[0], mine[0].log_sum),
          factor_of(given.bases[1], mine[1].log_sum)};
      const bool more = has_given(j + KEYS);
      if (more) fetch_bases(j + KEYS);
#else
      if (j == begin) first_carry<RING>(carry, with_position, ring, own);
      scores<RING>(s, carry, content, with_position, k_tile, ring, own, strip);
      if (has_hidden(i, j, first, memory)) hide(s, i, j, first, memory);
#endif
#if KEPT
      const long long kept_at = own_tiles + j / 16 * 32;
#endif
#pragma unroll
      for (int n = 0; n < KEYS / 8; n += AT_ONCE) {
        float dp[AT_ONCE][4] = {};
        const T* v_tile = values + (stage * KEYS + 8 * n) * ROW;
        products(dp, gradient, [=](int m) { return v_tile + m * ROW; });
#pragma unroll
        for (int m = 0; m < AT_ONCE; m++) {
#pragma unroll
          for (int k = 0; k < 4; k++) {
#if GIVEN
            const float weight = weight_of(given, n + m, k) * factors[k / 2];
#else
            const float weight = exp2_fast(fmaf(s[n + m][k], factor, -mine[k / 2].log_sum));
#endif
            float counted = weight;
#if DROP
            const u64 element = (u64)(line + i + query_of(k)) * (queries + memory);
            if (weight > 0) {
              const float keep = draw(draws, element + j + key_of(n + m, k)) >= p ? kept : 0.0f;
              dp[m][k] *= keep;
              counted *= keep;
            }
#endif
            s[n + m][k] = weight * (dp[m][k] - mine[k / 2].delta);
            dp[m][k] = counted;
          }
        }
#pragma unroll
        for (int m = n; m < n + AT_ONCE; m += 2) {
          Left<T> slope;
          to_left(slope, s[m], s[m + 1]);
          multiply_rows(by_keys, slope, k_tile + 8 * m * ROW, 0);
#if KEPT_WEIGHTS
          Left<T> weight;
          to_left(weight, dp[m - n], dp[m - n + 1]);
          kept_weights[kept_at + m / 2 * 32] = turned(weight);
#endif
#if KEPT
          kept_slopes[kept_at + m / 2 * 32] = turned(slope);
#endif
        }
#if GIVEN
        if (more) {
#pragma unroll
          for (int m = n; m < n + AT_ONCE; m += 2) fetch(j + KEYS, m / 2);
        }
#endif
      }
    }

    // D by distances: the columns of the last tile and of this one that are complete for the warp.
    const int askew = own_column + KEYS + query_of(0) - key_of(0, 0);
    T* slope_rows = slopes + 16 * warp * WIDE_ROW;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const int x = askew + k / 2 * 8 - 8 * n - k % 2;
        const int at = (WIDE & (WIDE - 1)) == 0 ? x & (WIDE - 1) : wrapped(x, WIDE);
        slope_rows[Rows<T, WIDE>::at(query_of(k), at, 0)] = from_float<T>(s[n][k]);
      }
    }
    __syncwarp();
    if (seen) {
#pragma unroll
      for (int x = KEYS; x > 0; x -= 16) {
        Left<T> slope;
        load_left<WIDE>(slope, slope_rows, wrapped(own_column + x, WIDE));
        multiply_rows(by_distances, slope, ring + wrapped(own + x, RING) * ROW, 0);
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
        load_left_trans<WIDE>(slope, slopes + k * WIDE_ROW, chunk);
        multiply_rows(dr, slope, staged + k * ROW, share);
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
            add4(to + t * row + at, (odd ? c0 : a0) * scale, (odd ? c1 : a1) * scale,
                (odd ? b0 : c0) * scale, (odd ? b1 : c1) * scale);
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
