// What all kernels share. No header is included anywhere: NVRTC comes without any. Every source also
// compiles with nvcc.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;

// bf16 without cuda_bf16.h: the upper half of an fp32.
struct bf16 {
  unsigned short bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// Rounds to nearest, ties to even. Sources call their type T, so no template's parameter here is.
template <typename To> __device__ __forceinline__ To from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float x) {
  bf16 r;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
  return r;
}

// Eight neighbours, moved in accesses of 16 bytes: the address has to be aligned to that.
__device__ __forceinline__ void load8(const float* p, float (&v)[8]) {
  const float4 a = *reinterpret_cast<const float4*>(p);
  const float4 b = *reinterpret_cast<const float4*>(p + 4);
  v[0] = a.x; v[1] = a.y; v[2] = a.z; v[3] = a.w;
  v[4] = b.x; v[5] = b.y; v[6] = b.z; v[7] = b.w;
}

__device__ __forceinline__ void load8(const bf16* p, float (&v)[8]) {
  const uint4 a = *reinterpret_cast<const uint4*>(p);
  const u32 w[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    v[2 * i] = __uint_as_float(w[i] << 16);
    v[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
  }
}

__device__ __forceinline__ void store8(float* p, const float (&v)[8]) {
  *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
  *reinterpret_cast<float4*>(p + 4) = make_float4(v[4], v[5], v[6], v[7]);
}

__device__ __forceinline__ u32 pack(float low, float high) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

__device__ __forceinline__ void store8(bf16* p, const float (&v)[8]) {
  *reinterpret_cast<uint4*>(p) =
      make_uint4(pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7]));
}

// Where a warp makes a row: which, in blocks of so many threads.
template <int Threads> __device__ __forceinline__ long long row_of_warp() {
  return (long long)blockIdx.x * (Threads / 32) + threadIdx.x / 32;
}

#define LOG2E 1.4426950408889634f

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) x += __shfl_xor_sync(0xffffffffu, x, d);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
  return x;
}

// Philox4x32-10, as in Philox.java: four draws for the counter (low, high) under a key.
__device__ __forceinline__ uint4 philox(u64 key, u64 low, u64 high) {
  u32 c0 = (u32)low, c1 = (u32)(low >> 32), c2 = (u32)high, c3 = (u32)(high >> 32);
  u32 k0 = (u32)key, k1 = (u32)(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const u64 p0 = (u64)0xD2511F53u * c0;
    const u64 p1 = (u64)0xCD9E8D57u * c2;
    c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
    c1 = (u32)p1;
    c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
    c3 = (u32)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return make_uint4(c0, c1, c2, c3);
}

// A draw as a number in [0, 1) with 24 bits.
__device__ __forceinline__ float uniform(u32 draw) { return (draw >> 8) * 0x1p-24f; }

// The high half of the counter: what the numbers are for (StepRandom.java).
__device__ __forceinline__ u64 stream_of(u64 step, u64 layer, u64 operation) {
  return (step & 0xffffffffull) | (layer << 32) | (operation << 48);
}

// One element, where eight neighbours are not aligned.
template <typename Value> __device__ __forceinline__ void load(const Value* p, float (&v)[1]) {
  v[0] = to_float(*p);
}
template <typename Value> __device__ __forceinline__ void load(const Value* p, float (&v)[8]) {
  load8(p, v);
}
template <typename Value> __device__ __forceinline__ void store(Value* p, const float (&v)[1]) {
  *p = from_float<Value>(v[0]);
}
template <typename Value> __device__ __forceinline__ void store(Value* p, const float (&v)[8]) {
  store8(p, v);
}

// Where a step's draws come from (StepRandom.java): position holds the step and the micro-batch's
// first sample in memory, so that a replayed graph draws anew. PART: some of the samples' elements alone
// are here, in runs that lie apart.
#ifndef PART
#define PART 0
#endif
struct Draws {
  u64 key;
  u64 stream;
  u64 first;
#if PART
  u64 run;        // elements that are neighbours
  u64 elsewhere;  // those between two runs
#endif
};

// run: neighbours that are here. stride: a sample's elements, here or not, and from one run to the next.
// offset: the first of them, from the first sample's first. Without PART run is stride, and offset 0.
__device__ __forceinline__ Draws draws_of(u64 key, const long long* position, long long run,
    long long stride, long long offset, int layer, int operation) {
  Draws d;
  d.key = key;
  d.stream = stream_of((u64)position[0], (u64)layer, (u64)operation);
#if PART
  d.run = (u64)run;
  d.elsewhere = (u64)(stride - run);
  d.first = (u64)(stride * position[1] + offset);
#else
  d.first = (u64)(stride * position[1]);
#endif
  return d;
}

// The global index of the element i that is here.
__device__ __forceinline__ u64 index_of(const Draws& d, u64 i) {
#if PART
  return d.first + i + i / d.run * d.elsewhere;
#else
  return d.first + i;
#endif
}

// The draw of element i of the micro-batch.
__device__ __forceinline__ float draw(const Draws& d, u64 i) {
  const u64 index = index_of(d, i);
  const uint4 four = philox(d.key, index >> 2, d.stream);
  const u32 lane = (u32)index & 3;
  return uniform(lane == 0 ? four.x : lane == 1 ? four.y : lane == 2 ? four.z : four.w);
}

// The draws of eight neighbours: i is a multiple of eight, and so, with PART, is a run, so that the
// eight are one run's; its beginnings are multiples of four, as a sample's elements are without.
__device__ __forceinline__ void draw8(const Draws& d, u64 i, float (&u)[8]) {
  const u64 block = index_of(d, i) >> 2;
#pragma unroll
  for (int k = 0; k < 2; k++) {
    const uint4 four = philox(d.key, block + k, d.stream);
    u[4 * k] = uniform(four.x);
    u[4 * k + 1] = uniform(four.y);
    u[4 * k + 2] = uniform(four.z);
    u[4 * k + 3] = uniform(four.w);
  }
}
