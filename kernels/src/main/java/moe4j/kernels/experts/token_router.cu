// From a router's logits to sorted routes with their weights, and to the sums that its losses and figures
// are made of, in two launches; and the logits' gradient in one.
//
// choose: a block has neighbouring tokens, a warp one at a time. It leaves how often each expert was
// chosen there and the sum of each one's probabilities. place: a block for each of those adds up what
// is before it, so that none waits for another, and one block more ends the sums. Only integers are
// added in no fixed order.
#include "common.cuh"

// compile: -DHELD=3 -DTHREADS=1024 -DSCORE=LOGITS -DFIGURES=1 -DZ_LOSS=1 -DHALVES=1
// compile: -DHELD=16 -DTHREADS=512 -DSCORE=SOFTMAX -DFIGURES=1 -DZ_LOSS=0
// compile: -DHELD=8 -DTHREADS=512 -DSCORE=SIGMOID -DFIGURES=1 -DZ_LOSS=1
// compile: -DHELD=1 -DTHREADS=1024 -DSCORE=SQRTSOFTPLUS -DFIGURES=0 -DZ_LOSS=0
// HELD: columns a lane holds in registers, so that 32 HELD are at least those of a row.
// THREADS: of a block of choose and place; at least as many as columns.
// SCORE: by what experts are compared: their logits, a softmax, or each logit's sigmoid or root of
// softplus. FIGURES: whether there are a balance loss and the entropy. Z_LOSS: whether there is a z-loss.
// HALVES: whether the gradient is left as sums of two bf16 numbers, for the products that take it (split.cu).
#ifndef HELD
#define HELD 3
#endif
#ifndef THREADS
#define THREADS 1024
#endif
#ifndef SCORE
#define SCORE LOGITS
#endif
#ifndef FIGURES
#define FIGURES 1
#endif
#ifndef Z_LOSS
#define Z_LOSS 1
#endif
#ifndef HALVES
#define HALVES 0
#endif
#include "block_sums.cuh"
#include "largest.cuh"
#include "scores.cuh"

// As in TokenRouter.java.
#define GRADIENT_THREADS 256

#define MOST (32 * HELD)

// expert and weight [rows, k]: the k largest of scores + bias, the largest first. Of a block's tokens:
// table[block][e], how often e was chosen; mass[block][e], the sum of its probabilities; figures[block],
// the sums of entropies and of squared logarithms. each: tokens of a block, a multiple of its warps.
// k is at most 32. A token of padding chooses -1 and is in none of the sums; padding may be null.
extern "C" __global__ void __launch_bounds__(THREADS)
    choose(const float* __restrict__ logits, const float* __restrict__ bias,
           const bool* __restrict__ padding, int* __restrict__ expert,
           float* __restrict__ weight, int* __restrict__ table, float* __restrict__ mass,
           float* __restrict__ figures, long long rows, int each, int columns, int k, float scaling) {
  __shared__ int counts[MOST];
#if FIGURES || Z_LOSS
  __shared__ float entropies[WARPS], squares[WARPS];
  float entropy = 0;
  float square = 0;
#endif
#if FIGURES
  __shared__ float masses[WARPS][MOST];
  float own_mass[HELD];
#pragma unroll
  for (int j = 0; j < HELD; j++) own_mass[j] = 0;
#endif
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  for (int e = threadIdx.x; e < columns; e += THREADS) counts[e] = 0;
  __syncthreads();
  const long long from = (long long)blockIdx.x * each + warp * (each / WARPS);
  const long long to = min(rows, from + each / WARPS);
  // The next row is under way while this one is computed.
  float ahead[HELD];
  if (from < to) read(logits + from * columns, columns, ahead);
  for (long long r = from; r < to; r++) {
    const float* row = logits + r * columns;
    float x[HELD];
#pragma unroll
    for (int j = 0; j < HELD; j++) x[j] = ahead[j];
    if (r + 1 < to) read(row + columns, columns, ahead);
    if (padding != nullptr && padding[r]) {
      if (lane < k) expert[r * k + lane] = -1;
      continue;
    }
    const RowScores made = scores_of(x, columns);
    const Softmax& s = made.softmax;
#if Z_LOSS
    square += s.log_sum * s.log_sum;
#endif
    u32 left[HELD];
#pragma unroll
    for (int j = 0; j < HELD; j++) {
      const int c = 32 * j + lane;
#if SCORE == LOGITS
      const float score = x[j];
#elif SCORE == SOFTMAX
      const float score = made.p[j];
#else
      const float score = made.scores.each[j];
#endif
      left[j] = c < columns ? place_of(bias == nullptr ? score : score + bias[c]) : 0;
#if FIGURES && SEPARATE
      const float q = score / made.scores.sum;
      const float information = -logf(q);
#elif FIGURES
      const float q = made.p[j];
      const float information = s.log_sum - x[j];
#endif
#if FIGURES
      own_mass[j] += q;
      // A NaN is not 0, and shows in the entropy.
      if (q != 0) entropy += q * information;
#endif
    }
    // Lane i keeps the i-th choice.
    int mine = 0;
    for (int i = 0; i < k; i++) {
      const int chosen = take_largest(left, columns);
      if (lane == i) mine = chosen;
    }
    const float w = weight_of(score_of(row[mine], s), k);
    if (lane < k) {
      expert[r * k + lane] = mine;
      weight[r * k + lane] = w * scaling;
      atomicAdd(&counts[mine], 1);
    }
  }
#if FIGURES
#pragma unroll
  for (int j = 0; j < HELD; j++) masses[warp][32 * j + lane] = own_mass[j];
#endif
#if FIGURES || Z_LOSS
  entropy = warp_sum(entropy);
  if (lane == 0) {
    entropies[warp] = entropy;
    squares[warp] = square;
  }
#endif
  __syncthreads();
  for (int e = threadIdx.x; e < columns; e += THREADS) {
    const long long at = (long long)blockIdx.x * columns + e;
    table[at] = counts[e];
#if FIGURES
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += masses[w][e];
    mass[at] = sum;
#endif
  }
#if FIGURES || Z_LOSS
  if (threadIdx.x < 2) {
    const float* all = threadIdx.x == 0 ? entropies : squares;
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += all[w];
    figures[2 * blockIdx.x + threadIdx.x] = sum;
  }
#endif
}

// What means and losses are multiplied by, for so many tokens that are no padding: 1 / tokens, and the balance
// loss's columns / (k tokens^2).
__device__ __forceinline__ void means(float* by, int tokens, int columns, int k) {
  const float n = (float)max(1, tokens);
  by[0] = 1.0f / n;
  by[1] = (float)columns / ((float)k * n * n);
}

// The losses and the entropy, by one block.
__device__ __forceinline__ void finish(const float* __restrict__ mass,
                                       const float* __restrict__ figures, const int* total,
                                       float* balance, float* z, float* entropy, int blocks,
                                       int columns, const float* by, float* warps) {
#if FIGURES
  const Share own = share_of(columns);
  float both = 0;
  if (own.column < columns) {
#pragma unroll 8
    for (int b = own.first; b < blocks; b += own.step) {
      both += mass[(long long)b * columns + own.column];
    }
    both *= (float)total[own.column];
  }
  both = block_sum(both, warps);
  if (threadIdx.x == 0) balance[0] = both * by[1];
#endif
#if FIGURES || Z_LOSS
  float chaos = 0;
  float square = 0;
  for (int b = threadIdx.x; b < blocks; b += THREADS) {
    chaos += figures[2 * b];
    square += figures[2 * b + 1];
  }
  chaos = block_sum(chaos, warps);
  square = block_sum(square, warps);
  if (threadIdx.x == 0) {
    if (FIGURES) entropy[0] = chaos * by[0];
    if (Z_LOSS) z[0] = square * by[0];
  }
#endif
}

// slot[i]: where choice i of the rows k stands among all, sorted by expert and, within one, in their own
// order. At that place token is i / k and sorted is weight[i]. A warp takes consecutive choices, 32 at a time.
// The last block, one more than choose had, writes where experts end, how many tokens each has, and what the
// sums come to; and what means are multiplied by, for the gradient. Padding's choices stand nowhere, slot -1, and
// as many places at the end have no token, -1, and count nothing.
extern "C" __global__ void __launch_bounds__(THREADS)
    place(const int* __restrict__ expert, const float* __restrict__ weight,
          const int* __restrict__ table, const float* __restrict__ mass,
          const float* __restrict__ figures, long long* __restrict__ token,
          long long* __restrict__ slot, float* __restrict__ sorted, int* offsets, long long* counts,
          float* balance, float* z, float* entropy, float* by, long long rows, int each,
          int columns, int k) {
  __shared__ int total[MOST], before[MOST];
  __shared__ int next[WARPS][MOST];
  __shared__ int warps[WARPS];
  __shared__ float sums[WARPS];
  __shared__ int used;
  __shared__ float own_by[2];
  const int blocks = (int)gridDim.x - 1;
  add_up(table, blocks, columns, total, before);
  const int e = threadIdx.x;
  const int start = sum_before(e < columns ? total[e] : 0, warps);
  if ((int)blockIdx.x == blocks) {
    if (e < columns) {
      offsets[e] = start + total[e];
      counts[e] = total[e];
    }
    if (e == columns - 1) {
      means(own_by, (start + total[e]) / k, columns, k);
      by[0] = own_by[0];
      by[1] = own_by[1];
    }
    __syncthreads();
    finish(mass, figures, total, balance, z, entropy, blocks, columns, own_by, sums);
    return;
  }
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  for (int c = lane; c < columns; c += 32) next[warp][c] = 0;
  __syncwarp();
  const long long own = (long long)(each / WARPS) * k;
  const long long from = (long long)blockIdx.x * each * k + warp * own;
  const long long to = min(rows * k, from + own);
  for (long long first = from; first < to; first += 32) {
    const int named = first + lane < to ? expert[first + lane] : -1;
    const u32 peers = __match_any_sync(ALL, named);
    if (named >= 0 && lane == __ffs(peers) - 1) next[warp][named] += __popc(peers);
    __syncwarp();
  }
  __syncthreads();
  if (e == columns - 1) used = start + total[e];
  // From the warps' counts to where each warp's first choice of an expert goes.
  if (e < columns) {
    int at = start + before[e];
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      const int counted = next[w][e];
      next[w][e] = at;
      at += counted;
    }
  }
  __syncthreads();
  for (long long first = from; first < to; first += 32) {
    const long long i = first + lane;
    const int named = i < to ? expert[i] : -1;
    const u32 peers = __match_any_sync(ALL, named);
    const int at = named < 0 ? 0 : next[warp][named] + __popc(peers & ((1u << lane) - 1));
    __syncwarp();
    if (named >= 0) {
      if (lane == __ffs(peers) - 1) next[warp][named] += __popc(peers);
      token[at] = i / k;
      slot[i] = at;
      sorted[at] = weight[i];
    } else if (i < to) {
      slot[i] = -1;
    }
    __syncwarp();
  }
  for (long long i = used + (long long)blockIdx.x * THREADS + threadIdx.x; i < rows * k;
       i += (long long)blocks * THREADS) {
    token[i] = -1;
    sorted[i] = 0;
  }
}

// From the gradients of a softmax's values p to those of what it is of.
__device__ __forceinline__ void through_softmax(const float (&p)[HELD], float (&d)[HELD]) {
  float dot = 0;
#pragma unroll
  for (int j = 0; j < HELD; j++) dot += p[j] * d[j];
  dot = warp_sum(dot);
#pragma unroll
  for (int j = 0; j < HELD; j++) d[j] = p[j] * (d[j] - dot);
}

#if HALVES
typedef bf16 GRADIENT;
#else
typedef float GRADIENT;
#endif

// gradient [rows, columns] of the logits; with HALVES bf16 [rows, 2 columns]: beside each other the numbers
// rounded, and what that leaves of them. dsorted: that of the sorted weights; dbalance and dz: those of the
// losses, each a number; any may be null. by_tokens: by as place left it. A warp makes a row; padding's is zeros.
extern "C" __global__ void __launch_bounds__(GRADIENT_THREADS)
    logits_gradient(const float* __restrict__ logits, const int* __restrict__ expert,
                    const long long* __restrict__ slot, const long long* __restrict__ counts,
                    const float* __restrict__ dsorted, const float* __restrict__ dbalance,
                    const float* __restrict__ dz, GRADIENT* __restrict__ gradient, long long rows,
                    int columns, int k, float scaling, const float* __restrict__ by_tokens) {
  const long long r = row_of_warp<GRADIENT_THREADS>();
  if (r >= rows) return;
  const int lane = threadIdx.x % 32;
  if (expert[r * k] < 0) {
    const int width = HALVES ? 2 * columns : columns;
    for (int c = lane; c < width; c += 32) gradient[r * width + c] = from_float<GRADIENT>(0.0f);
    return;
  }
  const float* row = logits + r * columns;
  float x[HELD];
  read(row, columns, x);
  const RowScores made = scores_of(x, columns);
  const Softmax& s = made.softmax;
  // By score, and by logit where that is the score.
  float d[HELD];
#pragma unroll
  for (int j = 0; j < HELD; j++) d[j] = 0;
#if FIGURES
  if (dbalance != nullptr) {
    const float by = dbalance[0] * by_tokens[1];
#pragma unroll
    for (int j = 0; j < HELD; j++) {
      const int c = 32 * j + lane;
      d[j] = c < columns ? by * (float)counts[c] : 0;
    }
    // A softmax as score is taken together with the choices', below.
#if SCORE == LOGITS
    through_softmax(made.p, d);
#elif SEPARATE
    float dot = 0;
#pragma unroll
    for (int j = 0; j < HELD; j++) dot += d[j] * made.scores.each[j];
    dot = warp_sum(dot) / made.scores.sum;
#pragma unroll
    for (int j = 0; j < HELD; j++) d[j] = (d[j] - dot) / made.scores.sum;
#endif
  }
#endif
  if (dsorted != nullptr) {
    const bool own = lane < k;
    const int mine = own ? expert[r * k + lane] : columns;
    const float its = own ? score_of(row[mine], s) : 0;
    float more = own ? scaling * dsorted[slot[r * k + lane]] : 0;
    if (SCORE == LOGITS || (SEPARATE && k > 1)) {
      const float w = weight_of(its, k);
      more -= warp_sum(w * more);
      more = SCORE == LOGITS ? w * more : more / (warp_sum(its) + TINY);
    }
    for (int i = 0; i < k; i++) {
      const int chosen = __shfl_sync(ALL, mine, i);
      const float add = __shfl_sync(ALL, more, i);
#pragma unroll
      for (int j = 0; j < HELD; j++) {
        if (32 * j + lane == chosen) d[j] += add;
      }
    }
  }
#if SCORE == SOFTMAX
  through_softmax(made.p, d);
#endif
#if Z_LOSS
  const float pull = dz == nullptr ? 0 : 2 * dz[0] * by_tokens[0] * s.log_sum;
#endif
#pragma unroll
  for (int j = 0; j < HELD; j++) {
    const int c = 32 * j + lane;
    if (c >= columns) continue;
    float dx = d[j];
#if SCORE == SIGMOID
    dx *= made.scores.each[j] * (1 - made.scores.each[j]);
#elif SCORE == SQRTSOFTPLUS
    // Where the score is 0, so is its slope.
    const float slope = x[j] > 20 ? 1 : sigmoid_of(x[j]);
    dx = made.scores.each[j] == 0 ? 0 : dx * slope / (2 * made.scores.each[j]);
#endif
#if Z_LOSS
    dx += pull * made.p[j];
#endif
#if HALVES
    const bf16 high = from_float<bf16>(dx);
    gradient[r * 2 * columns + c] = high;
    gradient[r * 2 * columns + columns + c] = from_float<bf16>(dx - to_float(high));
#else
    gradient[r * columns + c] = dx;
#endif
  }
}
