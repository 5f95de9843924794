// The loss of rows of logits and, in their place, the loss's gradient. A block a row.
#include "common.cuh"

// compile: -DTYPE=bf16 -DALIGNED=1 -DCACHED=1
// compile: -DTYPE=float -DALIGNED=0 -DCACHED=0
// TYPE: the logits' (a macro T would break the templates of NVRTC's own header). CACHED: the row is
// held in shared memory, and read once; else it is read again, from the L2 cache mostly. ALIGNED:
// rows begin and end at multiples of 16 bytes.
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef ALIGNED
#define ALIGNED 1
#endif
#ifndef CACHED
#define CACHED 1
#endif

typedef TYPE T;

#define THREADS 512
#define LN2 0.6931471805599453f
#define INFINITE __uint_as_float(0x7f800000u)
#define NO_NUMBER __uint_as_float(0x7fc00000u)

// The largest of the numbers seen, and the sum of exp(x - max). A NaN comes through in the sum.
struct Sum {
  float max;
  float sum;
};

// Differences are taken before they are scaled, or large logits would lose digits.
__device__ __forceinline__ float power(float x, float max) { return exp2_fast((x - max) * LOG2E); }

__device__ __forceinline__ Sum join(Sum a, Sum b) {
  Sum r;
  r.max = fmaxf(a.max, b.max);
  // Nothing seen yet on either side: -inf less itself would be no number.
  const float m = r.max == -INFINITE ? 0 : r.max;
  r.sum = a.sum * power(a.max, m) + b.sum * power(b.max, m);
  return r;
}

template <int N> __device__ __forceinline__ void add(Sum& s, const float (&x)[N]) {
  float max = s.max;
#pragma unroll
  for (int j = 0; j < N; j++) max = fmaxf(max, x[j]);
  // Of nothing but -inf, too, the sum is 0 and no NaN.
  const float m = max == -INFINITE ? 0 : max;
  float sum = s.sum * power(s.max, m);
#pragma unroll
  for (int j = 0; j < N; j++) sum += power(x[j], m);
  s.max = max;
  s.sum = sum;
}

// Of all threads, to all threads.
__device__ __forceinline__ Sum block_join(Sum s) {
  __shared__ Sum sums[THREADS / 32];
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) {
    Sum other;
    other.max = __shfl_xor_sync(0xffffffffu, s.max, d);
    other.sum = __shfl_xor_sync(0xffffffffu, s.sum, d);
    s = join(s, other);
  }
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = s;
  __syncthreads();
  // Every warp does the same again, so no second barrier is needed.
  s = sums[threadIdx.x % (THREADS / 32)];
#pragma unroll
  for (int d = THREADS / 64; d > 0; d >>= 1) {
    Sum other;
    other.max = __shfl_xor_sync(0xffffffffu, s.max, d);
    other.sum = __shfl_xor_sync(0xffffffffu, s.sum, d);
    s = join(s, other);
  }
  return s;
}

// Starts copying a row to shared memory, all of it at once.
__device__ __forceinline__ void fetch(T* shared, const T* row, int size) {
  const u32 to = (u32)__cvta_generic_to_shared(shared);
  for (int i = 8 * threadIdx.x; i < size; i += 8 * THREADS) {
#pragma unroll
    for (int b = 0; b < 8 * (int)sizeof(T); b += 16) {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                       to + i * (u32)sizeof(T) + b),
                   "l"(reinterpret_cast<const char*>(row + i) + b)
                   : "memory");
    }
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
}

__device__ __forceinline__ Sum sum_of(const T* row, int size) {
  Sum s = {-INFINITE, 0};
#if ALIGNED
#pragma unroll 4
  for (int i = 8 * threadIdx.x; i < size; i += 8 * THREADS) {
    float x[8];
    load8(row + i, x);
    add(s, x);
  }
#else
#pragma unroll 8
  for (int i = threadIdx.x; i < size; i += THREADS) {
    const float x[1] = {to_float(row[i])};
    add(s, x);
  }
#endif
  return block_join(s);
}

// Writes the loss of a row, a NaN where the label is not in the vocabulary.
__device__ __forceinline__ void write_loss(float* loss, Sum s, float at_label) {
  if (threadIdx.x == 0) loss[blockIdx.x] = logf(s.sum) + (s.max - at_label);
}

__device__ __forceinline__ bool in_vocabulary(long long label, int size) {
  return label >= 0 && label < size;
}

// The label's logit, which the gradient is about to be written over.
__device__ __forceinline__ float label_logit(const T* row, int size, long long label) {
  if (threadIdx.x != 0) return 0;
  return in_vocabulary(label, size) ? to_float(row[label]) : NO_NUMBER;
}

// loss[r] = logsumexp(x[r]) - x[r][label[r]].
extern "C" __global__ void __launch_bounds__(THREADS)
    losses(const T* logits, const long long* labels, float* loss, int size) {
  const T* row = logits + (u64)blockIdx.x * size;
  const float at_label = label_logit(row, size, labels[blockIdx.x]);
  write_loss(loss, sum_of(row, size), at_label);
}

// The same, and x[r] becomes softmax(x[r]) - onehot(label[r]), NaNs where the label is not in it: the
// gradients' norm then tells of it.
extern "C" __global__ void __launch_bounds__(THREADS)
    losses_and_gradients(T* logits, const long long* labels, float* loss, int size) {
  T* row = logits + (u64)blockIdx.x * size;
  const long long label = labels[blockIdx.x];
  const float at_label = label_logit(row, size, label);
#if CACHED
  extern __shared__ uint4 memory[];
  T* cache = reinterpret_cast<T*>(memory);
  // A thread reads what it has copied itself.
  fetch(cache, row, size);
  const T* source = cache;
#else
  const T* source = row;
#endif
  const Sum s = sum_of(source, size);
  write_loss(loss, s, at_label);
  const float inverse = in_vocabulary(label, size) ? 1 / s.sum : NO_NUMBER;
#if ALIGNED
#pragma unroll 2
  for (int i = 8 * threadIdx.x; i < size; i += 8 * THREADS) {
    float x[8];
    load8(source + i, x);
    const long long hot = label - i;
#pragma unroll
    for (int j = 0; j < 8; j++) x[j] = power(x[j], s.max) * inverse - (hot == j ? 1.0f : 0.0f);
    store8(row + i, x);
  }
#else
  for (int i = threadIdx.x; i < size; i += THREADS) {
    const float x = power(to_float(source[i]), s.max) * inverse;
    row[i] = from_float<T>(x - (label == i ? 1.0f : 0.0f));
  }
#endif
}

// Of rows of logits that are spread over ranks, this one's logits being first, first + 1, ... of the
// vocabulary's: their logsumexp, and the label's logit, 0 where it is another rank's.
extern "C" __global__ void __launch_bounds__(THREADS)
    part_sums(const T* logits, const long long* labels, float* sums, int size, int first,
              int vocabulary) {
  const T* row = logits + (u64)blockIdx.x * size;
  float at_label = 0;
  if (threadIdx.x == 0) {
    const long long label = labels[blockIdx.x];
    if (in_vocabulary(label - first, size)) at_label = to_float(row[label - first]);
    if (!in_vocabulary(label, vocabulary)) at_label = NO_NUMBER;
  }
  const Sum s = sum_of(row, size);
  if (threadIdx.x == 0) {
    sums[2 * blockIdx.x] = logf(s.sum) + s.max;
    sums[2 * blockIdx.x + 1] = at_label;
  }
}

// x[r] becomes (softmax(x[r]) - onehot(label[r])) upstream[r], given the logsumexp over all ranks.
extern "C" __global__ void __launch_bounds__(THREADS)
    part_gradients(T* logits, const long long* labels, const float* log_sums, const float* upstream,
                   int size, int first, int vocabulary) {
  T* row = logits + (u64)blockIdx.x * size;
  const long long label = labels[blockIdx.x];
  const float log_sum = log_sums[blockIdx.x];
  const float g = in_vocabulary(label, vocabulary) ? upstream[blockIdx.x] : NO_NUMBER;
#if ALIGNED
#pragma unroll 2
  for (int i = 8 * threadIdx.x; i < size; i += 8 * THREADS) {
    float x[8];
    load8(row + i, x);
    const long long hot = label - first - i;
#pragma unroll
    for (int j = 0; j < 8; j++) x[j] = (power(x[j], log_sum) - (hot == j ? 1.0f : 0.0f)) * g;
    store8(row + i, x);
  }
#else
  for (int i = threadIdx.x; i < size; i += THREADS) {
    const float x = power(to_float(row[i]), log_sum) - (label - first == i ? 1.0f : 0.0f);
    row[i] = from_float<T>(x * g);
  }
#endif
}
