// The residual stream's addition and the norm after it, and their gradients:
//
//   sum = residual + dropout(delta + bias),  normed = (sum - mean) rstd weight + norm_bias
//
// An RMSNorm has no mean, a plain norm no delta and no sum of its own. A group of warps has a row in
// its registers (norm_registers.cuh); where rows are no multiples of eight elements, a block walks over
// it (norm_walk.cuh). Both are the same two functions, of which a source compiled has one pair.
#include "common.cuh"

// compile: -DTYPE=bf16 -DDROP=1 -DCHANNELS=768 -DFORWARD_WARPS=1 -DFORWARD_ROWS=4 -DBACKWARD_WARPS=3 -DBACKWARD_ROWS=4
// compile: -DTYPE=float -DADD=0 -DCHANNELS=8192 -DFORWARD_WARPS=8 -DFORWARD_ROWS=1 -DBACKWARD_WARPS=16 -DBACKWARD_ROWS=1
// compile: -DTYPE=bf16 -DDROP=1
// compile: -DTYPE=bf16 -DDROP=1 -DPART=1 -DCHANNELS=768 -DFORWARD_WARPS=1 -DFORWARD_ROWS=4 -DBACKWARD_WARPS=3 -DBACKWARD_ROWS=4
// compile: -DTYPE=float -DDROP=1 -DPART=1
// TYPE: the elements' type. ADD: whether there is a delta. DROP: whether there is dropout, and PART
// (common.cuh) whether of some of the elements alone.
// CHANNELS: a row's elements, a multiple of 8, addresses multiples of 16 bytes; with it, the warps of
// a row and the rows of a block, FORWARD_WARPS and FORWARD_ROWS, BACKWARD_WARPS and BACKWARD_ROWS
// (AddNorm.java chooses). Without it, any number, in blocks of 256 threads.
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef ADD
#define ADD 1
#endif
#ifndef DROP
#define DROP 0
#endif
typedef TYPE T;

// What the type makes of a number.
__device__ __forceinline__ float rounded(float x) { return to_float(from_float<T>(x)); }

__device__ __forceinline__ float kept_or_not(float u, float p, float scale) {
  return u >= p ? scale : 0.0f;
}

#ifdef CHANNELS
#include "norm_registers.cuh"
#else
#include "norm_walk.cuh"
#endif
