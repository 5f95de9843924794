// A step of AdamW (Loshchilov and Hutter 2019) over many tensors: the gradients' norm by chunks, the
// step's scalars, the update. What a block works on it finds in tables that FusedAdamW.java writes;
// nothing is asked by the host, and the order of every sum is fixed.
#include "common.cuh"

// As in FusedAdamW.java.
#define CHUNK 32768
#define THREADS 512

// A tensor with its state. The gradient may be null, which is zeros.
struct Slot {
  void* parameter;
  void* master;
  void* exp_avg;
  void* exp_avg_sq;
  void* gradient;
  u64 size;
  u64 types;
  double decay;
};

// What is bf16 and not fp32, in Slot.types.
#define PARAMETER_BF16 1
#define MASTER_BF16 2
#define MOMENTS_BF16 4
#define GRADIENT_BF16 8

// The step's scalars, all fp32.
struct Scalars {
  float found_inf;   // 1: nothing is updated
  float scale;       // of the gradients, by clipping
  float rate;
  float step_size;   // rate / (1 - beta1^step)
  float correction;  // 1 / sqrt(1 - beta2^step)
  float weight1;     // 1 - beta1
  float weight2;     // 1 - beta2
  float epsilon;
};

// A block's part of a tensor: chunks[block] is the slot's number and, in the low half, the chunk's.
struct Part {
  u64 offset;
  int size;
};

__device__ __forceinline__ Part part_of(const Slot& slot, u64 chunk) {
  Part part;
  part.offset = (chunk & 0xffffffffull) * CHUNK;
  const u64 rest = slot.size - part.offset;
  part.size = rest < CHUNK ? (int)rest : CHUNK;
  return part;
}

template <typename T> __device__ __forceinline__ T* global(void* base, u64 offset) {
  T* p = static_cast<T*>(base) + offset;
  __builtin_assume(__isGlobal(p));
  return p;
}

__device__ __forceinline__ bool aligned(u64 addresses) { return (addresses & 15) == 0; }

// A thread's share of the sum of squares: at most 64 terms.
template <typename T> __device__ __forceinline__ float squares(const T* g, int size) {
  const int whole = aligned((u64)g) ? size & ~7 : 0;
  float sum = 0;
#pragma unroll 4
  for (int i = 8 * threadIdx.x; i < whole; i += 8 * THREADS) {
    float x[8];
    load8(g + i, x);
#pragma unroll
    for (int j = 0; j < 8; j++) sum = fmaf(x[j], x[j], sum);
  }
  for (int i = whole + threadIdx.x; i < size; i += THREADS) {
    const float x = to_float(g[i]);
    sum = fmaf(x, x, sum);
  }
  return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_partials(const Slot* slots, const u64* chunks, float* partials) {
  __shared__ float sums[THREADS / 32];
  const u64 chunk = chunks[blockIdx.x];
  const Slot slot = slots[chunk >> 32];
  const Part part = part_of(slot, chunk);
  float sum = 0;
  if (slot.gradient != 0) {
    sum = slot.types & GRADIENT_BF16
        ? squares(global<bf16>(slot.gradient, part.offset), part.size)
        : squares(global<float>(slot.gradient, part.offset), part.size);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = warp_sum(threadIdx.x < THREADS / 32 ? sums[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
  }
}

// One block of 1024 threads. rates[0] is the learning rate if the last step was taken, rates[1] if
// it was skipped, which found_inf tells as yet.
extern "C" __global__ void __launch_bounds__(1024)
    finalise(const float* partials, int count, double beta1, double beta2, double epsilon,
             double clip, const float* rates, float* step, float* norm, float* found_inf,
             Scalars* scalars) {
  __shared__ double sums[32];
  double sum = 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += 1024) sum += partials[i];
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = sums[threadIdx.x];
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  if (threadIdx.x != 0) return;

  const float total = (float)sqrt(sum);
  const bool finite = total <= 3.402823466e38f;  // a NaN is not
  const float rate = found_inf[0] != 0 ? rates[1] : rates[0];
  const float steps = finite ? step[0] + 1 : step[0];
  // Megatron's coefficient, clip / (norm + 1e-6) where that is below 1.
  const double divisor = clip > 0 ? (total + 1e-6) / clip : 1;
  Scalars s;
  s.found_inf = finite ? 0 : 1;
  s.scale = divisor > 1 ? (float)(1 / divisor) : 1;
  s.rate = rate;
  s.step_size = (float)(rate / (1 - pow(beta1, (double)steps)));
  s.correction = (float)(1 / sqrt(1 - pow(beta2, (double)steps)));
  s.weight1 = (float)(1 - beta1);
  s.weight2 = (float)(1 - beta2);
  s.epsilon = (float)epsilon;
  *scalars = s;
  step[0] = steps;
  norm[0] = total;
  found_inf[0] = s.found_inf;
}

// The update of one element; p is its master. The moments move by lerps, whose weights are exact
// where the betas are close to 1.
__device__ __forceinline__ void adamw(
    const Scalars& s, float decay, float g, float& p, float& m, float& v) {
  g *= s.scale;
  m = fmaf(s.weight1, g - m, m);
  v = fmaf(s.weight2, fmaf(g, g, -v), v);
  p = fmaf(-decay, p, p);
  p = fmaf(-s.step_size, m / fmaf(sqrtf(v), s.correction, s.epsilon), p);
}

template <typename P, typename W, typename M, typename G>
__device__ __forceinline__ void update(
    const Slot& slot, const Part& part, const Scalars& s, bool zero_after) {
  P* p = global<P>(slot.parameter, part.offset);
  W* w = global<W>(slot.master, part.offset);
  M* m = global<M>(slot.exp_avg, part.offset);
  M* v = global<M>(slot.exp_avg_sq, part.offset);
  G* g = slot.gradient == 0 ? 0 : global<G>(slot.gradient, part.offset);
  const bool apart = slot.parameter != slot.master;
  const bool zero = zero_after && g != 0;
  const float decay = (float)(s.rate * slot.decay);
  const int whole = aligned((u64)p | (u64)w | (u64)m | (u64)v | (u64)g) ? part.size & ~7 : 0;
  for (int i = 8 * threadIdx.x; i < whole; i += 8 * THREADS) {
    float a[8], b[8], c[8], d[8];
    load8(w + i, a);
    load8(m + i, b);
    load8(v + i, c);
    if (g != 0) {
      load8(g + i, d);
    } else {
#pragma unroll
      for (int j = 0; j < 8; j++) d[j] = 0;
    }
#pragma unroll
    for (int j = 0; j < 8; j++) adamw(s, decay, d[j], a[j], b[j], c[j]);
    store8(w + i, a);
    store8(m + i, b);
    store8(v + i, c);
    if (apart) store8(p + i, a);
    if (zero) {
#pragma unroll
      for (int j = 0; j < 8; j++) d[j] = 0;
      store8(g + i, d);
    }
  }
  for (int i = whole + threadIdx.x; i < part.size; i += THREADS) {
    float a = to_float(w[i]), b = to_float(m[i]), c = to_float(v[i]);
    adamw(s, decay, g != 0 ? to_float(g[i]) : 0.0f, a, b, c);
    w[i] = from_float<W>(a);
    m[i] = from_float<M>(b);
    v[i] = from_float<M>(c);
    if (apart) p[i] = from_float<P>(a);
    if (zero) g[i] = from_float<G>(0);
  }
}

template <typename G> __device__ __forceinline__ void zeros(const Slot& slot, const Part& part) {
  G* g = global<G>(slot.gradient, part.offset);
  for (int i = threadIdx.x; i < part.size; i += THREADS) g[i] = from_float<G>(0);
}

template <typename P, typename W, typename M>
__device__ __forceinline__ void update(
    const Slot& slot, const Part& part, const Scalars& s, bool zero_after) {
  if (slot.types & GRADIENT_BF16) {
    update<P, W, M, bf16>(slot, part, s, zero_after);
  } else {
    update<P, W, M, float>(slot, part, s, zero_after);
  }
}

template <typename P, typename W>
__device__ __forceinline__ void update(
    const Slot& slot, const Part& part, const Scalars& s, bool zero_after) {
  if (slot.types & MOMENTS_BF16) {
    update<P, W, bf16>(slot, part, s, zero_after);
  } else {
    update<P, W, float>(slot, part, s, zero_after);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    update_all(const Slot* slots, const u64* chunks, const Scalars* scalars, int zero_after) {
  const u64 chunk = chunks[blockIdx.x];
  const Slot slot = slots[chunk >> 32];
  const Part part = part_of(slot, chunk);
  const Scalars s = *scalars;
  if (s.found_inf != 0) {
    if (zero_after && slot.gradient != 0) {
      if (slot.types & GRADIENT_BF16) {
        zeros<bf16>(slot, part);
      } else {
        zeros<float>(slot, part);
      }
    }
  } else if (!(slot.types & PARAMETER_BF16)) {
    update<float, float>(slot, part, s, zero_after);
  } else if (slot.types & MASTER_BF16) {
    update<bf16, bf16>(slot, part, s, zero_after);
  } else {
    update<bf16, float>(slot, part, s, zero_after);
  }
}
