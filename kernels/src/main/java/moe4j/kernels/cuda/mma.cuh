// Products of 16 x 16 by 16 x 8 tiles by a warp, and what moves their operands. bf16 is multiplied as it
// is; fp32 as three products of its halves in tf32, which together have 22 bits of it.
//
// Lane 4 g + c of a warp has of an accumulator the elements (g, 2c), (g, 2c + 1), (g + 8, 2c) and
// (g + 8, 2c + 1), of a left operand those of the columns 2c, 2c + 1, 2c + 8, 2c + 9 in rows g and g + 8,
// of a right one those of the same rows in column g. In fp32 it has the same elements, unpacked.
#pragma once
#include "common.cuh"

template <typename Element> struct Left;
template <> struct Left<bf16> {
  u32 r[4];
};
template <> struct Left<float> {
  float r[8];
};
template <typename Element> struct Right;
template <> struct Right<bf16> {
  u32 r[2];
};
template <> struct Right<float> {
  float r[4];
};

__device__ __forceinline__ u32 shared_address(const void* p) {
  return (u32)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void ldmatrix(u32& a, u32& b, u32& c, u32& d, const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(shared_address(p)) : "memory");
}

__device__ __forceinline__ void ldmatrix_trans(u32& a, u32& b, u32& c, u32& d, const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
      : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(shared_address(p)) : "memory");
}

// Rows in shared memory of so many elements, 16 bytes of which are a vector. Eight rows of a column of
// vectors are to lie in other banks: where rows are multiples of 128 bytes, a row's vectors change
// places with its number, else rows are a vector longer.
template <typename Element, int Columns> struct Rows {
  static constexpr int VECTOR = 16 / sizeof(Element);
  static constexpr bool SWAPPED = Columns * sizeof(Element) % 128 == 0;
  static constexpr int LENGTH = SWAPPED ? Columns : Columns + VECTOR;

  // base and column have no bits in common; the row is one of a tile that begins at a multiple of 8.
  static __device__ __forceinline__ int at(int row, int base, int column) {
    return row * LENGTH + (SWAPPED ? base ^ column ^ row % 8 * VECTOR : base + column);
  }
};

// a[m][k] = tile[m][column + k], 16 x 16; columns are multiples of 16.
template <int Columns> __device__ __forceinline__ void load_left(
    Left<bf16>& a, const bf16* tile, int column) {
  const int lane = threadIdx.x % 32;
  ldmatrix(a.r[0], a.r[1], a.r[2], a.r[3],
      tile + Rows<bf16, Columns>::at(lane % 16, column, lane / 16 * 8));
}

// a[m][k] = tile[k][column + m].
template <int Columns> __device__ __forceinline__ void load_left_trans(
    Left<bf16>& a, const bf16* tile, int column) {
  const int lane = threadIdx.x % 32;
  ldmatrix_trans(a.r[0], a.r[1], a.r[2], a.r[3],
      tile + Rows<bf16, Columns>::at(lane % 8 + lane / 16 * 8, column, lane / 8 % 2 * 8));
}

// Two operands side by side: [low high][k][n] = tile[n][column + k], 16 x 16.
template <int Columns> __device__ __forceinline__ void load_right(
    Right<bf16>& low, Right<bf16>& high, const bf16* tile, int column) {
  const int lane = threadIdx.x % 32;
  ldmatrix(low.r[0], low.r[1], high.r[0], high.r[1],
      tile + Rows<bf16, Columns>::at(lane % 8 + lane / 16 * 8, column, lane / 8 % 2 * 8));
}

// [low high][k][n] = tile[k][column + n].
template <int Columns> __device__ __forceinline__ void load_right_trans(
    Right<bf16>& low, Right<bf16>& high, const bf16* tile, int column) {
  const int lane = threadIdx.x % 32;
  ldmatrix_trans(low.r[0], low.r[1], high.r[0], high.r[1],
      tile + Rows<bf16, Columns>::at(lane % 16, column, lane / 16 * 8));
}

// The row and the column of the k-th element that a lane has of a left operand.
__device__ __forceinline__ int left_row(int k) { return threadIdx.x % 32 / 4 + k / 2 % 2 * 8; }
__device__ __forceinline__ int left_column(int k) {
  return threadIdx.x % 4 * 2 + k % 2 + k / 4 * 8;
}

template <int Columns> __device__ __forceinline__ void load_left(
    Left<float>& a, const float* tile, int column) {
#pragma unroll
  for (int k = 0; k < 8; k++) {
    a.r[k] = tile[Rows<float, Columns>::at(left_row(k), column, left_column(k))];
  }
}

template <int Columns> __device__ __forceinline__ void load_left_trans(
    Left<float>& a, const float* tile, int column) {
#pragma unroll
  for (int k = 0; k < 8; k++) {
    a.r[k] = tile[Rows<float, Columns>::at(left_column(k), column, left_row(k))];
  }
}

template <int Columns> __device__ __forceinline__ void load_right(
    Right<float>& low, Right<float>& high, const float* tile, int column) {
  const int n = threadIdx.x % 32 / 4;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const int at = threadIdx.x % 4 * 2 + k % 2 + k / 2 * 8;
    low.r[k] = tile[Rows<float, Columns>::at(n, column, at)];
    high.r[k] = tile[Rows<float, Columns>::at(n + 8, column, at)];
  }
}

template <int Columns> __device__ __forceinline__ void load_right_trans(
    Right<float>& low, Right<float>& high, const float* tile, int column) {
  const int n = threadIdx.x % 32 / 4;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const int at = threadIdx.x % 4 * 2 + k % 2 + k / 2 * 8;
    low.r[k] = tile[Rows<float, Columns>::at(at, column, n)];
    high.r[k] = tile[Rows<float, Columns>::at(at, column, n + 8)];
  }
}

// The other way: what a lane has of a left operand goes to tile.
template <int Columns> __device__ __forceinline__ void store_left(
    const Left<bf16>& a, bf16* tile, int column) {
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const int at = Rows<bf16, Columns>::at(left_row(2 * k), column, left_column(2 * k));
    *reinterpret_cast<u32*>(tile + at) = a.r[k];
  }
}

template <int Columns> __device__ __forceinline__ void store_left(
    const Left<float>& a, float* tile, int column) {
#pragma unroll
  for (int k = 0; k < 8; k++) {
    tile[Rows<float, Columns>::at(left_row(k), column, left_column(k))] = a.r[k];
  }
}

// a plus the same row in every row, of which bias has 16 columns.
__device__ __forceinline__ Left<bf16> plus(const Left<bf16>& a, const bf16* bias) {
  Left<bf16> sum;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const u32 b = *reinterpret_cast<const u32*>(bias + left_column(2 * k));
    // A product with one: sm_80 has no sum of two bf16. It is rounded once.
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum.r[k]) : "r"(a.r[k]), "r"(0x3f803f80u), "r"(b));
  }
  return sum;
}

__device__ __forceinline__ Left<float> plus(const Left<float>& a, const float* bias) {
  Left<float> sum;
#pragma unroll
  for (int k = 0; k < 8; k++) sum.r[k] = a.r[k] + bias[left_column(k)];
  return sum;
}

// Two accumulators side by side as a left operand, in its type.
__device__ __forceinline__ void to_left(
    Left<bf16>& a, const float (&low)[4], const float (&high)[4]) {
  a.r[0] = pack(low[0], low[1]);
  a.r[1] = pack(low[2], low[3]);
  a.r[2] = pack(high[0], high[1]);
  a.r[3] = pack(high[2], high[3]);
}

__device__ __forceinline__ void to_left(
    Left<float>& a, const float (&low)[4], const float (&high)[4]) {
#pragma unroll
  for (int k = 0; k < 4; k++) {
    a.r[k] = low[k];
    a.r[4 + k] = high[k];
  }
}

// sum += a b.
__device__ __forceinline__ void multiply(
    float (&sum)[4], const Left<bf16>& a, const Right<bf16>& b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
}

__device__ __forceinline__ u32 tf32(float x) {
  u32 r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}

__device__ __forceinline__ void multiply_tf32(
    float (&sum)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The columns 2c and 2c + 1 of a take the places c and c + 4 that tf32 has, and so do b's rows. Tensor
// cores cut their sums off where fp32 rounds: so each product is added by itself.
__device__ __forceinline__ void multiply(
    float (&sum)[4], const Left<float>& a, const Right<float>& b) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const float* x = a.r + 4 * half;
    const float* y = b.r + 2 * half;
    const float left[4] = {x[0], x[2], x[1], x[3]};
    u32 ah[4], al[4], bh[2], bl[2];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      ah[k] = tf32(left[k]);
      al[k] = tf32(left[k] - __uint_as_float(ah[k]));
    }
#pragma unroll
    for (int k = 0; k < 2; k++) {
      bh[k] = tf32(y[k]);
      bl[k] = tf32(y[k] - __uint_as_float(bh[k]));
    }
    float part[4] = {}, rest[4] = {};
    multiply_tf32(rest, al, bh);
    multiply_tf32(rest, ah, bl);
    multiply_tf32(part, ah, bh);
#pragma unroll
    for (int k = 0; k < 4; k++) sum[k] += part[k] + rest[k];
  }
}

// Starts to copy 16 bytes from global to shared memory, or zeros, while the thread goes on.
__device__ __forceinline__ void copy16(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
      "r"(there ? 16 : 0) : "memory");
}

__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// Adds four neighbours to global memory, at a multiple of 16 bytes.
__device__ __forceinline__ void add4(float* p, float a, float b, float c, float d) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(p), "f"(a), "f"(b), "f"(c),
      "f"(d) : "memory");
#else
  atomicAdd(p, a);
  atomicAdd(p + 1, b);
  atomicAdd(p + 2, c);
  atomicAdd(p + 3, d);
#endif
}
