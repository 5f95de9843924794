// A router's scores of a row of logits, its softmax, and the weights of its choices, by a warp of which
// each lane holds HELD columns: of every 32 neighbours one. SCORE, FIGURES and Z_LOSS as in token_router.cu.
#pragma once
#include "common.cuh"

#define LOGITS 0
#define SOFTMAX 1
#define SIGMOID 2
#define SQRTSOFTPLUS 3

#define MINUS_INFINITY __int_as_float((int)0xff800000u)
#define TINY 1e-20f

// Whether a score depends on its logit alone; then it is divided by the sum of scores to be a probability.
#define SEPARATE (SCORE == SIGMOID || SCORE == SQRTSOFTPLUS)
// Whether a softmax over all logits is needed.
#define HAS_SOFTMAX (SCORE == SOFTMAX || Z_LOSS || (FIGURES && !SEPARATE))

__device__ __forceinline__ float sigmoid_of(float x) { return 1.0f / (1.0f + expf(-x)); }

// A row's softmax: exp(x - largest) times inverse; and the logarithm of the sum of exponentials.
struct Softmax {
  float largest;
  float inverse;
  float log_sum;
};

// The softmax of a row, and into p its values: a lane's columns, as in read.
__device__ __forceinline__ Softmax softmax_of(const float (&x)[HELD], float (&p)[HELD]) {
  Softmax s;
  float largest = x[0];
#pragma unroll
  for (int j = 1; j < HELD; j++) largest = fmaxf(largest, x[j]);
  s.largest = warp_max(largest);
  float sum = 0;
#pragma unroll
  for (int j = 0; j < HELD; j++) {
    p[j] = expf(x[j] - s.largest);
    sum += p[j];
  }
  sum = warp_sum(sum);
  s.inverse = 1.0f / sum;
  s.log_sum = logf(sum) + s.largest;
#pragma unroll
  for (int j = 0; j < HELD; j++) p[j] *= s.inverse;
  return s;
}

__device__ __forceinline__ float score_of(float x, const Softmax& s) {
#if SCORE == LOGITS
  return x;
#elif SCORE == SOFTMAX
  return expf(x - s.largest) * s.inverse;
#elif SCORE == SIGMOID
  return sigmoid_of(x);
#else
  return sqrtf(x > 20 ? x : log1pf(expf(x)));
#endif
}

// A row's logits: of every 32 neighbours a lane has one. -inf after the last.
__device__ __forceinline__ void read(const float* __restrict__ row, int columns, float (&x)[HELD]) {
#pragma unroll
  for (int j = 0; j < HELD; j++) {
    const int c = 32 * j + threadIdx.x % 32;
    x[j] = c < columns ? row[c] : MINUS_INFINITY;
  }
}

// Scores that depend on their logits alone: a lane's, 0 after the last, and their sum.
struct Scores {
  float each[HELD];
  float sum;
};

__device__ __forceinline__ Scores separate_scores(const float (&x)[HELD], int columns) {
  const Softmax none = {0, 0, 0};
  Scores s;
  float sum = 0;
#pragma unroll
  for (int j = 0; j < HELD; j++) {
    s.each[j] = 32 * j + (int)(threadIdx.x % 32) < columns ? score_of(x[j], none) : 0;
    sum += s.each[j];
  }
  s.sum = warp_sum(sum) + TINY;
  return s;
}

// What is needed of a row of logits: its softmax, all 0 where there is none, and a lane's values p of it; its
// scores, where they depend on their logits alone.
struct RowScores {
  Softmax softmax;
#if HAS_SOFTMAX
  float p[HELD];
#endif
#if SEPARATE
  Scores scores;
#endif
};

// By all of a warp; x as read leaves it.
__device__ __forceinline__ RowScores scores_of(const float (&x)[HELD], int columns) {
  RowScores row;
  row.softmax = {0, 0, 0};
#if HAS_SOFTMAX
  row.softmax = softmax_of(x, row.p);
#endif
#if SEPARATE
  row.scores = separate_scores(x, columns);
#endif
  return row;
}

// The weight of a lane's choice before it is scaled, of its score; the first k lanes have one, the others
// get 0 where weights are divided by a sum. All lanes call it.
__device__ __forceinline__ float weight_of(float score, int k) {
#if SCORE == LOGITS
  const bool own = (int)(threadIdx.x % 32) < k;
  const float largest = warp_max(own ? score : MINUS_INFINITY);
  const float power = own ? expf(score - largest) : 0;
  return power / warp_sum(power);
#elif SCORE == SOFTMAX
  return score;
#else
  const float part = (int)(threadIdx.x % 32) < k ? score : 0;
  return k > 1 ? part / (warp_sum(part) + TINY) : score;
#endif
}
