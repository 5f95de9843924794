// The functions of norm.cu for rows of any number of elements, over which a block walks.
#pragma once

#define THREADS 256

// Two sums over the block.
__device__ __forceinline__ float2 block_sum(float a, float b) {
  __shared__ float2 slots[THREADS / 32];
  a = warp_sum(a);
  b = warp_sum(b);
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = make_float2(a, b);
  __syncthreads();
  float2 all = make_float2(0, 0);
#pragma unroll
  for (int w = 0; w < THREADS / 32; w++) {
    all.x += slots[w].x;
    all.y += slots[w].y;
  }
  __syncthreads();
  return all;
}

// A block a row.
extern "C" __global__ void __launch_bounds__(THREADS) norm_forward(
    const T* __restrict__ residual, const T* __restrict__ delta, const T* __restrict__ bias,
    const T* __restrict__ weight, const T* __restrict__ norm_bias, T* sum, T* __restrict__ normed,
    float* __restrict__ mean, float* __restrict__ rstd, long long rows, int channels, float epsilon,
    u64 key, const long long* position, long long run, long long stride, long long offset, int layer,
    int operation, float p, float scale) {
  const long long row = blockIdx.x, start = row * channels;
#if DROP
  const Draws draws = draws_of(key, position, run, stride, offset, layer, operation);
  const float kept = rounded(scale);
#endif
  // A thread reads back what it wrote itself.
  const T* x = ADD ? sum + start : residual + start;
  float all = 0;
  for (int c = threadIdx.x; c < channels; c += THREADS) {
#if ADD
    float d = to_float(delta[start + c]) + (bias ? to_float(bias[c]) : 0);
#if DROP
    d *= kept_or_not(draw(draws, (u64)(start + c)), p, kept);
#endif
    sum[start + c] = from_float<T>(to_float(residual[start + c]) + d);
#endif
    all += to_float(x[c]);
  }
  const float m = mean ? block_sum(all, 0).x / channels : 0;
  float squares = 0;
  for (int c = threadIdx.x; c < channels; c += THREADS) {
    const float centred = to_float(x[c]) - m;
    squares = fmaf(centred, centred, squares);
  }
  const float r = rsqrtf(block_sum(squares, 0).x / channels + epsilon);
  if (threadIdx.x == 0) {
    if (mean) mean[row] = m;
    rstd[row] = r;
  }
  for (int c = threadIdx.x; c < channels; c += THREADS) {
    const float y = (to_float(x[c]) - m) * r * to_float(weight[c]);
    normed[start + c] = from_float<T>(y + (norm_bias ? to_float(norm_bias[c]) : 0));
  }
}

// A block has every gridDim.x-th row; a thread alone adds to its columns' partials.
extern "C" __global__ void __launch_bounds__(THREADS) norm_backward(
    const T* __restrict__ dsum, const T* __restrict__ dnormed, const T* __restrict__ sum,
    const float* __restrict__ mean, const float* __restrict__ rstd, const T* __restrict__ weight,
    T* __restrict__ total, T* __restrict__ dropped, float* __restrict__ partials, long long rows,
    int channels, u64 key, const long long* position, long long run, long long stride,
    long long offset, int layer, int operation, float p, float scale) {
#if DROP
  const Draws draws = draws_of(key, position, run, stride, offset, layer, operation);
  const float kept = rounded(scale);
#endif
  float* out = partials + (long long)blockIdx.x * 3 * channels;
  for (int c = threadIdx.x; c < channels; c += THREADS) {
    out[c] = out[channels + c] = out[2 * channels + c] = 0;
  }
  for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
    const long long start = row * channels;
    const float m = mean ? mean[row] : 0;
    const float r = rstd[row];
    float along = 0, straight = 0;
    for (int c = threadIdx.x; c < channels; c += THREADS) {
      const float y = dnormed ? to_float(dnormed[start + c]) : 0;
      const float x = (to_float(sum[start + c]) - m) * r;
      const float g = y * to_float(weight[c]);
      out[c] += y * x;
      out[channels + c] += y;
      along = fmaf(g, x, along);
      straight += g;
    }
    const float2 sums = block_sum(along, straight);
    const float a = sums.x / channels;
    const float s = mean ? sums.y / channels : 0;
    for (int c = threadIdx.x; c < channels; c += THREADS) {
      const float g = dnormed ? to_float(dnormed[start + c]) * to_float(weight[c]) : 0;
      const float x = (to_float(sum[start + c]) - m) * r;
      float t = fmaf(r, g - s - x * a, dsum ? to_float(dsum[start + c]) : 0);
      total[start + c] = from_float<T>(t);
#if ADD
#if DROP
      t *= kept_or_not(draw(draws, (u64)(start + c)), p, kept);
      dropped[start + c] = from_float<T>(t);
#endif
      out[2 * channels + c] += t;
#endif
    }
  }
}
