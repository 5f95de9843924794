// What the kernels of AdamW's step share: a tensor with its state, the step's scalars, and the update of
// eight neighbours.
#pragma once
#include "common.cuh"
#include "moments.cuh"

// The types of the moments of slots that say MOMENTS_LOW: float, bf16 or fp8.
#ifndef FIRST
#define FIRST float
#endif
#ifndef SECOND
#define SECOND float
#endif

// Elements that are streamed at once, of which a tensor's last ones may be left; as in SlotTable.java.
#define PIECE 2048

// A tensor with its state. The gradient may be null, which is zeros.
struct Slot {
  void* parameter;
  void* master;  // fp32, or, where MASTER_REST says so, the 16 bits that the parameter lacks
  void* exp_avg;
  void* exp_avg_sq;
  void* gradient;
  u64 size;
  u64 types;
  double decay;
  float* scales1;  // of the moments' blocks, where they are fp8
  float* scales2;
  u64 key;             // of its random numbers
  u64 first;           // the place of its first element among those that share the key
  float* squares;      // parts of the sum of the gradient's squares, or null: they are read then
  u64 squares_count;
};

// In Slot.types.
#define PARAMETER_BF16 1
#define MASTER_REST 2
#define MOMENTS_LOW 4
#define GRADIENT_BF16 8
#define STREAMED 16  // its whole pieces are updated by adamw_stream.cu

// The step's scalars.
struct Scalars {
  float found_inf;   // 1: nothing is updated
  float scale;       // of the gradients, by clipping
  float rate;
  float step_size;   // rate / (1 - beta1^step)
  float correction;  // 1 / sqrt(1 - beta2^step)
  float weight1;     // 1 - beta1
  float weight2;     // 1 - beta2
  float epsilon;
  u32 step;          // the number of this step, from 1: random numbers are keyed by it
};

// The update of one element; p is its master. The moments move by lerps, whose weights are exact
// where the betas are close to 1. ROUNDED: a moment is rounded to eight bits of mantissa or fewer
// afterwards, so that root and quotient may be a few units in the last place off.
template <bool ROUNDED>
__device__ __forceinline__ void adamw(
    const Scalars& s, float decay, float g, float& p, float& m, float& v) {
  g *= s.scale;
  m = fmaf(s.weight1, g - m, m);
  v = fmaf(s.weight2, fmaf(g, g, -v), v);
  p = fmaf(-decay, p, p);
  const float change = ROUNDED
      ? quotient(m, fmaf(root(v), s.correction, s.epsilon))
      : m / fmaf(sqrtf(v), s.correction, s.epsilon);
  p = fmaf(-s.step_size, change, p);
}

// What a step takes off a weight for its decay.
__device__ __forceinline__ float decay_of(const Scalars& s, const Slot& slot) {
  return (float)(s.rate * slot.decay);
}

// Where the state of some elements is, and their gradient.
template <typename W, typename M, typename V, typename G> struct State {
  static const bool ROUNDED = Moments<M, false>::ROUNDED || Moments<V, true>::ROUNDED;
  Masters<W> masters;
  Moments<M, false> first;
  Moments<V, true> second;
  G* gradient;
};

// Updates the eight elements that begin at i, of which a warp has 256 together: they are a block of
// the moments' codes. Everything is read before anything is computed.
template <typename W, typename M, typename V, typename G>
__device__ __forceinline__ void update8(
    const State<W, M, V, G>& on, int i, float decay, const Scalars& s, const Place& place) {
  float p[8], m[8], v[8], d[8];
  on.masters.load8(i, p);
  on.first.load8(i, m);
  on.second.load8(i, v);
  if (on.gradient != 0) {
    load8(on.gradient + i, d);
  } else {
#pragma unroll
    for (int j = 0; j < 8; j++) d[j] = 0;
  }
#pragma unroll
  for (int j = 0; j < 8; j++) {
    adamw<State<W, M, V, G>::ROUNDED>(s, decay, d[j], p[j], m[j], v[j]);
  }
  on.masters.store8(i, p);
  const Draws8 draws(place);
  on.first.store8(i, m, draws);
  on.second.store8(i, v, draws);
}

template <typename G> __device__ __forceinline__ void zero8(G* gradient) {
  const float zeros[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  store8(gradient, zeros);
}
