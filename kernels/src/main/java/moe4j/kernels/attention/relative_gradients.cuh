// What the kernels of relative attention's gradients share: they compute the scores again. One stays with
// queries and makes their gradients, those of the biases and those of the distances, the other stays with
// keys and makes theirs and the values'. With P the weights and D their gradients:
//
//   dP = dropped(dO V^T),  D = P (dP - rowsum(dO O)),  dQ = scale (D K + D' R),  dK = scale D^T (Q + u),
//   dV = dropped(P)^T dO,  dR = scale D'^T (Q + v)
//
// D' is D by distances in place of keys. In bf16, where memory is enough, the first leaves dropped(P) and D as tiles of
// 16 keys by 16 queries, each lane's part of a left operand beside those of the others, and relative_key_sums.cu makes
// the gradients of keys and values of them. Where the forward has left its weights and nothing is dropped, P is not
// left: the other makes it of these, as the first does.
#pragma once
#include "relative_attention.cuh"

// Whether the forward has left its weights.
#ifndef GIVEN
#define GIVEN 0
#endif
// Whether P is left to the other kernel, beside D.
#ifndef KEPT_WEIGHTS
#define KEPT_WEIGHTS KEPT
#endif

// Of KEYS rows of a product a warp has 16, of HEAD columns an equal share.
#define ROW_WARPS (KEYS / 16)
#define COLUMN_WARPS (WARPS / ROW_WARPS)
#define SHARE ((STEPS + COLUMN_WARPS - 1) / COLUMN_WARPS)
// Blocks of 8 keys whose dP a warp computes at once.
#define AT_ONCE (KEYS == 16 ? 2 : 4)

// What is known of a query: the forward's sum, and rowsum(dO O).
struct Row {
  float log_sum;
  float delta;
};

__device__ __forceinline__ u32 turned(u32 matrix) {
  u32 r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(matrix));
  return r;
}

// A left operand's transpose.
__device__ __forceinline__ uint4 turned(const Left<bf16>& a) {
  return make_uint4(turned(a.r[0]), turned(a.r[2]), turned(a.r[1]), turned(a.r[3]));
}

// What the forward's weights with a base are multiplied by. inf as the sum of a row that sees nothing, or is not there,
// makes it 0.
__device__ __forceinline__ float factor_of(float base, float log_sum) { return exp2_fast(base - log_sum); }

// sum += a b, of b's 16 rows the columns from one on that there are.
template <int Blocks> __device__ __forceinline__ void multiply_rows(
    float (&sum)[Blocks][4], const Left<T>& a, const T* rows, int column) {
#pragma unroll
  for (int m = 0; m < Blocks; m += 2) {
    if (8 * Blocks != HEAD && column + 8 * m >= HEAD) break;
    Right<T> low, high;
    load_right_trans<HEAD>(low, high, rows, column + 8 * m);
    multiply(sum[m], a, low);
    multiply(sum[m + 1], a, high);
  }
}
