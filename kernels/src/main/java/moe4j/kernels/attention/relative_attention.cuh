// What the kernels of relative attention share (RelativeAttention.java has the formula): tiles of
// queries by keys, whose scores a warp has for 16 queries.
//
// The position term of query i and key j needs the distance i + M - j, so the 16 queries and KEYS keys
// of a warp's tile need KEYS + 15 distances, of which the next tile shares 15. The warp multiplies its
// queries by the rows of these distances as by any matrix, puts the products into shared memory of its
// own and reads them back askew: query i of the tile (from 0) and key j find theirs in column
// x = i + KEYS - j, the first of the 16 more being needed by nobody.
//
// The rows of distances lie in shared memory in a ring: a tile on, they are the same but for KEYS of
// them. The block's first query i0, the tile's first key j0: the window begins with the distance
// i0 - j0 + M - KEYS, and that of the block's w-th warp 16 w rows later.
#pragma once
#include "mma.cuh"

// TYPE: the elements'. HEAD: a head's channels, rounded up to a multiple of 16. KEYS: keys of a tile.
// WARPS: of a block, 16 queries each; their queries are a multiple of KEYS. BLOCKS: those on a
// multiprocessor that registers are to be enough for. ASKEW: keys whose products a warp puts into shared
// memory at a time. ALIGNED: rows begin and end at multiples of 16 bytes. SAME_LENGTH: whether a query
// sees M keys alone. DROP: whether there is dropout, and PART (common.cuh) whether of some of the
// elements alone. (RelativeAttentionKernel.java chooses.)
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef HEAD
#define HEAD 64
#endif
#ifndef KEYS
#define KEYS 64
#endif
#ifndef WARPS
#define WARPS 4
#endif
#ifndef BLOCKS
#define BLOCKS 1
#endif
#ifndef ALIGNED
#define ALIGNED 1
#endif
#ifndef SAME_LENGTH
#define SAME_LENGTH 0
#endif
#ifndef DROP
#define DROP 0
#endif
#ifndef ASKEW
#define ASKEW KEYS
#endif
// Whether weights are left in memory: by the forward P before it is normalised, by the queries' kernel D, and P where
// KEPT_WEIGHTS says so (relative_gradients.cuh).
#ifndef KEPT
#define KEPT 0
#endif
typedef TYPE T;

#define THREADS (32 * WARPS)
#define ROWS (16 * WARPS)
// Elements of 16 bytes, and of a head's row in shared memory.
#define VECTOR ((int)(16 / sizeof(T)))
#define ROW (Rows<T, HEAD>::LENGTH)
// Rows of the ring of distances: a window's, and those that come next.
#define RING (ROWS + 2 * KEYS)
// Elements of a row of P or D where a warp keeps them for others, floats of a row of products, which
// eight rows write without a conflict of banks, and bytes of a warp's own memory.
#define WEIGHTS_ROW (Rows<T, KEYS>::LENGTH)
#define PRODUCTS (ASKEW + 24)
#define LARGER(a, b) ((int)(a) > (int)(b) ? (int)(a) : (int)(b))
#define STRIP \
  LARGER(64 * PRODUCTS, LARGER(16 * ROW * sizeof(T), 32 * WEIGHTS_ROW * sizeof(T)))
#define STEPS (HEAD / 16)
#define INFINITE __int_as_float(0x7f800000)

// The warp's number, which the compiler then knows to be the same for all of its lanes.
__device__ __forceinline__ int warp_of_block() {
  return __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
}

// A head's part of the tensors.
struct Sizes {
  int queries;
  int memory;
  int heads;
  int channels;
};

// Where tiles of weights lie that a kernel leaves to another: of 16 queries by 16 keys, a query's beside each other,
// each in 32 parts of 16 bytes, a lane's.
struct Tiles {
  int queries;
  int keys;

  __device__ __forceinline__ int rows() const { return (queries + ROWS - 1) / ROWS * ROWS; }

  __device__ __forceinline__ int blocks() const { return (keys + KEYS - 1) / KEYS; }

  __device__ __forceinline__ long long at(int head_of_sample, int query, int key) const {
    return (((long long)head_of_sample * (rows() / 16) + query / 16) * blocks() * (KEYS / 16) + key / 16) * 32;
  }

  // Of a query's number for KEYS keys.
  __device__ __forceinline__ long long number_at(int head_of_sample, int query, int key) const {
    return ((long long)head_of_sample * blocks() + key / KEYS) * rows() + query;
  }
};

// to[i] = from[first + i] for Count rows; zeros where there is no such row or channel. Rows lie stride
// elements apart. Aligned rows are copied while the thread goes on.
template <int Count> __device__ __forceinline__ void copy_rows(
    T* to, const T* from, long long stride, int first, int rows, int channels) {
#if ALIGNED
  constexpr int VECTORS = HEAD / VECTOR;
  constexpr int STEP = THREADS / VECTORS;
  if constexpr (THREADS % VECTORS == 0 && STEP % 8 == 0 && Count % STEP == 0) {
    // A thread has one column of rows STEP apart: little is computed for each.
    const int row = threadIdx.x / VECTORS, column = threadIdx.x % VECTORS * VECTOR;
    const bool inside = column < channels;
    const T* p = from + (first + row) * stride + column;
#pragma unroll
    for (int k = 0; k < Count; k += STEP) {
      copy16(to + k * ROW + Rows<T, HEAD>::at(row, column, 0), p, inside && (u32)(first + row + k) < (u32)rows);
      p += STEP * stride;
    }
  } else {
    for (int k = threadIdx.x; k < Count * VECTORS; k += THREADS) {
      const int row = k / VECTORS, column = k % VECTORS * VECTOR;
      copy16(to + Rows<T, HEAD>::at(row, column, 0), from + (first + row) * stride + column,
          (u32)(first + row) < (u32)rows && column < channels);
    }
  }
#else
  for (int k = threadIdx.x; k < Count * HEAD; k += THREADS) {
    const int row = k / HEAD, column = k % HEAD;
    const bool there = (u32)(first + row) < (u32)rows && column < channels;
    to[Rows<T, HEAD>::at(row, column, 0)] =
        there ? from[(first + row) * stride + column] : from_float<T>(0.0f);
  }
#endif
}

// The ring's place so many rows on; both are less than a round.
__device__ __forceinline__ int wrapped(int place, int round) {
  return place >= round ? place - round : place;
}

// Rows of distances, from the first on, go to a place in the ring, KEYS at a time.
template <int Count, int Round> __device__ __forceinline__ void copy_distances(
    T* ring, int place, const T* position, int first, const Sizes& s) {
#pragma unroll
  for (int k = 0; k < Count; k += KEYS) {
    copy_rows<KEYS>(ring + wrapped(place + k, Round) * ROW, position,
        (long long)s.heads * s.channels, first + k, s.queries + s.memory, s.channels);
  }
}

// Both biases of a head, the contents' and the positions', to shared memory.
__device__ __forceinline__ void copy_biases(
    T* to, const T* content, const T* position, int head, int channels) {
  for (int k = threadIdx.x; k < 2 * HEAD; k += THREADS) {
    const T* from = (k < HEAD ? content : position) + (long long)head * channels;
    to[k] = k % HEAD < channels ? from[k % HEAD] : from_float<T>(0.0f);
  }
}

// Products of a warp's 16 queries with Blocks times 8 rows of shared memory, which place(x) gives for
// every 16th. Blocks side by side, so that a product seldom waits for the one before.
template <int Blocks, typename Place> __device__ __forceinline__ void products(
    float (&sum)[Blocks][4], const Left<T> (&query)[STEPS], Place place) {
#pragma unroll
  for (int k = 0; k < STEPS; k++) {
#pragma unroll
    for (int n = 0; n < Blocks; n += 2) {
      Right<T> a, b;
      load_right<HEAD>(a, b, place(8 * n), 16 * k);
      multiply(sum[n], query[k], a);
      multiply(sum[n + 1], query[k], b);
    }
  }
}

__device__ __forceinline__ void store_products(
    float* strip, int column, const float (&low)[4], const float (&high)[4]) {
  const int lane = threadIdx.x % 32;
  float* at = strip + lane / 4 * PRODUCTS + column + lane % 4 * 2;
  *reinterpret_cast<float2*>(at) = make_float2(low[0], low[1]);
  *reinterpret_cast<float2*>(at + 8) = make_float2(high[0], high[1]);
  at += 8 * PRODUCTS;
  *reinterpret_cast<float2*>(at) = make_float2(low[2], low[3]);
  *reinterpret_cast<float2*>(at + 8) = make_float2(high[2], high[3]);
}

// A warp's scores, not scaled: query content and keys, and positions. place is the ring's, of the warp's
// window. carry holds the products of the window's last 16 columns, and then of its first, which are
// the next tile's last.
template <int Round> __device__ __forceinline__ void scores(float (&s)[KEYS / 8][4],
    float (&carry)[2][4], const Left<T> (&content)[STEPS], const Left<T> (&position)[STEPS],
    const T* keys, const T* ring, int place, float* strip) {
  float raw[KEYS / 8][4] = {};
  products(raw, position, [=](int x) { return ring + wrapped(place + x, Round) * ROW; });
  const int lane = threadIdx.x % 32;
  const float* askew = strip + lane / 4 * (PRODUCTS + 1) + ASKEW - lane % 4 * 2;
  // The columns of ASKEW keys at a time, so that less memory does.
#pragma unroll
  for (int x = KEYS - ASKEW; x >= 0; x -= ASKEW) {
#pragma unroll
    for (int n = 0; n < ASKEW + 16; n += 16) {
      if (x + n < KEYS) {
        store_products(strip, n, raw[(x + n) / 8 % (KEYS / 8)], raw[(x + n) / 8 % (KEYS / 8) + 1]);
      } else {
        store_products(strip, n, carry[0], carry[1]);
      }
    }
    __syncwarp();
#pragma unroll
    for (int n = 0; n < ASKEW / 8; n++) {
#pragma unroll
      for (int k = 0; k < 4; k++) {
        s[(KEYS - ASKEW - x) / 8 + n][k] = askew[k / 2 * 8 * (PRODUCTS + 1) - 8 * n - k % 2];
      }
    }
    __syncwarp();
  }
#pragma unroll
  for (int k = 0; k < 4; k++) {
    carry[0][k] = raw[0][k];
    carry[1][k] = raw[1][k];
  }
  products(s, content, [=](int n) { return keys + n * ROW; });
}

// The last 16 columns of a warp's first window.
template <int Round> __device__ __forceinline__ void first_carry(
    float (&carry)[2][4], const Left<T> (&position)[STEPS], const T* ring, int place) {
#pragma unroll
  for (int k = 0; k < 4; k++) carry[0][k] = carry[1][k] = 0;
  products(carry, position, [=](int) { return ring + wrapped(place + KEYS, Round) * ROW; });
}

// The query that a lane's k-th element of an accumulator belongs to, and the key, from a tile's first.
__device__ __forceinline__ int query_of(int k) { return threadIdx.x % 32 / 4 + k / 2 * 8; }
__device__ __forceinline__ int key_of(int n, int k) {
  return 8 * n + threadIdx.x % 4 * 2 + k % 2;
}

// Whether one of a warp's queries from i on may not see one of the keys from j on.
__device__ __forceinline__ bool has_hidden(int i, int j, int first, int memory) {
  return j + KEYS - 1 > memory + i || j < first || (SAME_LENGTH && j <= i + 15);
}

// Scores of keys that a query may not see become -inf.
__device__ __forceinline__ void hide(
    float (&s)[KEYS / 8][4], int i, int j, int first, int memory) {
#pragma unroll
  for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const int query = i + query_of(k), key = j + key_of(n, k);
      if (key > memory + query || key < first || (SAME_LENGTH && key <= query)) {
        s[n][k] = -INFINITE;
      }
    }
  }
}

// A warp's queries with both biases, from 16 rows of shared memory.
__device__ __forceinline__ void load_queries(Left<T> (&content)[STEPS],
    Left<T> (&position)[STEPS], const T* rows, const T* biases) {
#pragma unroll
  for (int k = 0; k < STEPS; k++) {
    Left<T> query;
    load_left<HEAD>(query, rows, 16 * k);
    content[k] = plus(query, biases + 16 * k);
    position[k] = plus(query, biases + HEAD + 16 * k);
  }
}

// 16 rows of accumulators, times a factor, to the rows from i on that there are.
template <int Blocks> __device__ __forceinline__ void store_rows(T* to, long long stride, int i,
    int rows, int column, int channels, const float (&sum)[Blocks][4], float low, float high) {
#pragma unroll
  for (int n = 0; n < Blocks; n++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = i + query_of(2 * half), at = column + key_of(n, 0);
      const float factor = half ? high : low;
      if (row >= rows) continue;
#pragma unroll
      for (int k = 0; k < 2; k++) {
        if (at + k < channels) {
          to[row * stride + at + k] = from_float<T>(sum[n][2 * half + k] * factor);
        }
      }
    }
  }
}
