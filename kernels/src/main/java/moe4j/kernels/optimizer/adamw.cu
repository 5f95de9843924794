// A step of AdamW (Loshchilov and Hutter 2019) over many tensors: the gradients' norm by chunks, the
// step's scalars, the update. What a block works on it finds in tables (SlotTable.java); nothing is asked
// by the host, and the order of every sum is fixed.
//
// STREAMS: adamw_stream.cu updates the pieces of some slots, and blocks take chunk after chunk here.
#include "adamw.cuh"

// compile: -DFIRST=bf16 -DSECOND=fp8
// compile: -DFIRST=bf16 -DSECOND=fp8 -DSTREAMS=1

#ifndef STREAMS
#define STREAMS 0
#endif

// As in SlotTable.java.
#define CHUNK 32768
// As in FusedAdamW.java.
#define THREADS 512

// Among the chunks of the norm: the sum of the slot's squares is known in parts.
#define KNOWN 0x80000000ull

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

// The parts of a sum that is known: they are many where a weight has many experts.
__device__ __forceinline__ float known_squares(const Slot& slot) {
  const float* parts = global<float>(slot.squares, 0);
  float sum = 0;
  for (u64 i = threadIdx.x; i < slot.squares_count; i += THREADS) sum += parts[i];
  return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_partials(const Slot* slots, const u64* chunks, float* partials) {
  __shared__ float sums[THREADS / 32];
  const u64 chunk = chunks[blockIdx.x];
  const Slot slot = slots[chunk >> 32];
  float sum = 0;
  if (chunk & KNOWN) {
    sum = known_squares(slot);
  } else if (slot.gradient != 0) {
    const Part part = part_of(slot, chunk);
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
  s.step = (u32)steps;
  *scalars = s;
  step[0] = steps;
  norm[0] = total;
  found_inf[0] = s.found_inf;
}

__device__ __forceinline__ void set_zero(float& x) { x = 0; }
__device__ __forceinline__ void set_zero(bf16& x) { x.bits = 0; }

template <typename W, typename M, typename V, typename G>
__device__ __forceinline__ bool wide(const State<W, M, V, G>& on) {
  return aligned(
      on.masters.addresses() | on.first.address() | on.second.address() | (u64)on.gradient);
}

// A thread updates eight neighbours, and a warp 256.
template <typename S>
__device__ __forceinline__ void update_blocks(
    const S& on, const Slot& slot, u64 offset, int start, int end, const Scalars& s, bool zero) {
  const float decay = decay_of(s, slot);
  for (int i = start + 8 * threadIdx.x; i < end; i += 8 * THREADS) {
    update8(on, i, decay, s, Place{slot.key, slot.first + offset + i, s.step});
    if (zero) zero8(on.gradient + i);
  }
}

// The same of what is not in whole blocks, or not aligned: one element at a time, with few registers.
// Where a block of codes needs its maximum first, the update is computed twice.
template <typename S>
__device__ __forceinline__ void update_rest(
    const S& on, const Slot& slot, u64 offset, int start, int size, const Scalars& s, bool zero) {
  const float decay = decay_of(s, slot);
  for (int block = start + 256 * (threadIdx.x / 32); block < size; block += 8 * THREADS) {
    const int end = min(size, block + 256);
    float largest1 = 0, largest2 = 0;
#pragma unroll 1
    for (int pass = on.first.BLOCKS || on.second.BLOCKS ? 0 : 1; pass < 2; pass++) {
#pragma unroll 1
      for (int i = block + (threadIdx.x & 31); i < end; i += 32) {
        float p = on.masters.load(i), m = on.first.load(i), v = on.second.load(i);
        adamw<S::ROUNDED>(s, decay, on.gradient != 0 ? to_float(on.gradient[i]) : 0.0f, p, m, v);
        if (pass == 0) {
          largest1 = fmaxf(largest1, fabsf(m));
          largest2 = fmaxf(largest2, v);
        } else {
          const Place place = {slot.key, slot.first + offset + i, s.step};
          on.masters.store(i, p);
          on.first.store(i, m, largest1, place);
          on.second.store(i, v, largest2, place);
          if (zero) set_zero(on.gradient[i]);
        }
      }
      if (pass == 0) {
        largest1 = warp_max(largest1);
        largest2 = warp_max(largest2);
      }
    }
    // All of the block have been read.
    __syncwarp();
    on.first.store_scale(block, largest1);
    on.second.store_scale(block, largest2);
  }
}

template <typename W, typename M, typename V, typename G>
__device__ __forceinline__ void update(
    const Slot& slot, const Part& part, const Scalars& s, bool zero_after) {
  const State<W, M, V, G> on = {
      Masters<W>(slot.parameter, slot.master, part.offset),
      Moments<M, false>(slot.exp_avg, slot.scales1, part.offset),
      Moments<V, true>(slot.exp_avg_sq, slot.scales2, part.offset),
      slot.gradient == 0 ? 0 : global<G>(slot.gradient, part.offset)};
  const bool zero = zero_after && on.gradient != 0;
  // A part behind streamed pieces is a slot's last, and begins with some of them.
  const int start = STREAMS && slot.types & STREAMED ? part.size & ~(PIECE - 1) : 0;
  const int whole = wide(on) ? part.size & ~255 : start;
  update_blocks(on, slot, part.offset, start, whole, s, zero);
  update_rest(on, slot, part.offset, whole, part.size, s, zero);
}

template <typename G> __device__ __forceinline__ void zeros(const Slot& slot, const Part& part) {
  G* g = global<G>(slot.gradient, part.offset);
  for (int i = threadIdx.x; i < part.size; i += THREADS) g[i] = from_float<G>(0);
}

template <typename W, typename M, typename V>
__device__ __forceinline__ void update(
    const Slot& slot, const Part& part, const Scalars& s, bool zero_after) {
  if (slot.types & GRADIENT_BF16) {
    update<W, M, V, bf16>(slot, part, s, zero_after);
  } else {
    update<W, M, V, float>(slot, part, s, zero_after);
  }
}

// Where all moments are fp32 the two branches are one to the compiler.
template <typename W>
__device__ __forceinline__ void update(
    const Slot& slot, const Part& part, const Scalars& s, bool zero_after) {
  if (slot.types & MOMENTS_LOW) {
    update<W, FIRST, SECOND>(slot, part, s, zero_after);
  } else {
    update<W, float, float>(slot, part, s, zero_after);
  }
}

__device__ __forceinline__ void update_chunk(
    const Slot* slots, u64 chunk, const Scalars& s, int zero_after) {
  const Slot& slot = slots[chunk >> 32];
  const Part part = part_of(slot, chunk);
  if (s.found_inf != 0) {
    if (zero_after && slot.gradient != 0) {
      if (slot.types & GRADIENT_BF16) {
        zeros<bf16>(slot, part);
      } else {
        zeros<float>(slot, part);
      }
    }
  } else if (!(slot.types & PARAMETER_BF16)) {
    update<Itself>(slot, part, s, zero_after);
  } else if (slot.types & MASTER_REST) {
    update<Rest>(slot, part, s, zero_after);
  } else {
    update<Apart>(slot, part, s, zero_after);
  }
}

// table: how many chunks there are to update, and which. Without STREAMS there are as many blocks.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    update_all(const Slot* slots, const u64* table, const Scalars* scalars, int zero_after) {
  const Scalars s = *scalars;
#if STREAMS
  for (u64 i = blockIdx.x; i < table[0]; i += gridDim.x) {
    update_chunk(slots, table[1 + i], s, zero_after);
  }
#else
  update_chunk(slots, table[1 + blockIdx.x], s, zero_after);
#endif
}
