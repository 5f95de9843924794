// The functions of norm.cu for rows of CHANNELS elements, which a group of warps keeps in registers.
#pragma once

#define FORWARD_THREADS (32 * FORWARD_WARPS * FORWARD_ROWS)
#define BACKWARD_THREADS (32 * BACKWARD_WARPS * BACKWARD_ROWS)

// Sums over a row's warps, each on the barrier of its group. The two slots take turns: who writes a
// slot again has passed the other's barrier, so all have read it.
template <int WARPS, int ROWS> struct Group {
  int row;
  int lane;
  int turn;
  float2 (*slots)[2][WARPS];

  __device__ __forceinline__ explicit Group(float2 (*shared)[2][WARPS]) {
    row = threadIdx.x / (32 * WARPS);
    lane = threadIdx.x % (32 * WARPS);
    turn = 0;
    slots = shared + row;
  }

  __device__ __forceinline__ float2 sum(float a, float b) {
    a = warp_sum(a);
    b = warp_sum(b);
    if (WARPS == 1) return make_float2(a, b);
    float2* slot = (*slots)[turn];
    turn ^= 1;
    if (lane % 32 == 0) slot[lane / 32] = make_float2(a, b);
    meet();
    float2 all = make_float2(0, 0);
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      all.x += slot[w].x;
      all.y += slot[w].y;
    }
    return all;
  }

  // The row's warps wait for each other. A block takes as many barriers as are named by constants,
  // and all 16 where one is not.
  __device__ __forceinline__ void meet() const {
    if (ROWS == 1) {
      __syncthreads();
    } else {
#pragma unroll
      for (int j = 0; j < ROWS; j++) {
        if (row == j) asm volatile("bar.sync %0, %1;" ::"r"(j + 1), "n"(32 * WARPS) : "memory");
      }
    }
  }

  // The first of the eight columns of a lane's vector v.
  __device__ __forceinline__ int column(int v) const { return (v * 32 * WARPS + lane) * 8; }
};

// Vectors of eight that a lane has of a row.
#define VECTORS(warps) ((CHANNELS / 8 + 32 * (warps) - 1) / (32 * (warps)))

#if CHANNELS / 8 % (32 * FORWARD_WARPS) == 0
#define IN_FORWARD(column) true
#else
#define IN_FORWARD(column) ((column) < CHANNELS)
#endif
#if CHANNELS / 8 % (32 * BACKWARD_WARPS) == 0
#define IN_BACKWARD(column) true
#else
#define IN_BACKWARD(column) ((column) < CHANNELS)
#endif

// mean, rstd: fp32 [rows]; mean is null for an RMSNorm, and norm_bias and bias may be.
extern "C" __global__ void __launch_bounds__(FORWARD_THREADS) norm_forward(
    const T* __restrict__ residual, const T* __restrict__ delta, const T* __restrict__ bias,
    const T* __restrict__ weight, const T* __restrict__ norm_bias, T* __restrict__ sum,
    T* __restrict__ normed, float* __restrict__ mean, float* __restrict__ rstd, long long rows,
    int channels, float epsilon, u64 key, const long long* position, long long run,
    long long stride, long long offset, int layer, int operation, float p, float scale) {
  constexpr int V = VECTORS(FORWARD_WARPS);
  __shared__ float2 slots[FORWARD_ROWS][2][FORWARD_WARPS];
  Group<FORWARD_WARPS, FORWARD_ROWS> group(slots);
  const long long row = (long long)blockIdx.x * FORWARD_ROWS + group.row;
  if (row >= rows) return;
  const long long start = row * CHANNELS;

  float x[V][8] = {};
#pragma unroll
  for (int v = 0; v < V; v++) {
    if (IN_FORWARD(group.column(v))) load8(residual + start + group.column(v), x[v]);
  }
#if ADD
  float d[V][8] = {};
#pragma unroll
  for (int v = 0; v < V; v++) {
    if (IN_FORWARD(group.column(v))) load8(delta + start + group.column(v), d[v]);
  }
  if (bias) {
#pragma unroll
    for (int v = 0; v < V; v++) {
      if (IN_FORWARD(group.column(v))) {
        float b[8];
        load8(bias + group.column(v), b);
#pragma unroll
        for (int i = 0; i < 8; i++) d[v][i] += b[i];
      }
    }
  }
#if DROP
  const Draws draws = draws_of(key, position, run, stride, offset, layer, operation);
  const float kept = rounded(scale);
#endif
#pragma unroll
  for (int v = 0; v < V; v++) {
#if DROP
    float u[8];
    draw8(draws, (u64)(start + group.column(v)), u);
#pragma unroll
    for (int i = 0; i < 8; i++) d[v][i] *= kept_or_not(u[i], p, kept);
#endif
#pragma unroll
    for (int i = 0; i < 8; i++) x[v][i] = rounded(x[v][i] + d[v][i]);
    if (IN_FORWARD(group.column(v))) store8(sum + start + group.column(v), x[v]);
  }
#endif

  float m = 0;
  if (mean) {
    float total = 0;
#pragma unroll
    for (int v = 0; v < V; v++) {
#pragma unroll
      for (int i = 0; i < 8; i++) total += x[v][i];
    }
    m = group.sum(total, 0).x * (1.0f / CHANNELS);
  }
  float squares = 0;
#pragma unroll
  for (int v = 0; v < V; v++) {
    if (IN_FORWARD(group.column(v))) {
#pragma unroll
      for (int i = 0; i < 8; i++) squares = fmaf(x[v][i] - m, x[v][i] - m, squares);
    }
  }
  const float r = rsqrtf(group.sum(squares, 0).x * (1.0f / CHANNELS) + epsilon);
  if (group.lane == 0) {
    if (mean) mean[row] = m;
    rstd[row] = r;
  }
#pragma unroll
  for (int v = 0; v < V; v++) {
    if (IN_FORWARD(group.column(v))) {
      float w[8], b[8] = {};
      load8(weight + group.column(v), w);
      if (norm_bias) load8(norm_bias + group.column(v), b);
#pragma unroll
      for (int i = 0; i < 8; i++) w[i] = fmaf((x[v][i] - m) * r, w[i], b[i]);
      store8(normed + start + group.column(v), w);
    }
  }
}

// total = dsum + norm'(dnormed), the gradient of residual; dropped, that of delta, where there is
// dropout; partials [gridDim.x, 3, channels]: the sums over rows that weight, norm_bias and bias get.
// sum is what was normalised. dsum and dnormed may be null.
extern "C" __global__ void __launch_bounds__(BACKWARD_THREADS, 768 / BACKWARD_THREADS) norm_backward(
    const T* __restrict__ dsum, const T* __restrict__ dnormed, const T* __restrict__ sum,
    const float* __restrict__ mean, const float* __restrict__ rstd, const T* __restrict__ weight,
    T* __restrict__ total, T* __restrict__ dropped, float* __restrict__ partials, long long rows,
    int channels, u64 key, const long long* position, long long run, long long stride,
    long long offset, int layer, int operation, float p, float scale) {
  constexpr int V = VECTORS(BACKWARD_WARPS);
  __shared__ float2 slots[BACKWARD_ROWS][2][BACKWARD_WARPS];
  Group<BACKWARD_WARPS, BACKWARD_ROWS> group(slots);
  float w[V][8] = {};
#pragma unroll
  for (int v = 0; v < V; v++) {
    if (IN_BACKWARD(group.column(v))) load8(weight + group.column(v), w[v]);
  }
#if DROP
  const Draws draws = draws_of(key, position, run, stride, offset, layer, operation);
  const float kept = rounded(scale);
#endif
  float weight_sums[V][8] = {}, norm_bias_sums[V][8] = {}, bias_sums[V][8] = {};
  long long row = (long long)blockIdx.x * BACKWARD_ROWS + group.row;
  for (; row < rows; row += (long long)gridDim.x * BACKWARD_ROWS) {
    const long long start = row * CHANNELS;
    float x[V][8] = {}, g[V][8] = {}, t[V][8] = {};
#pragma unroll
    for (int v = 0; v < V; v++) {
      if (IN_BACKWARD(group.column(v))) load8(sum + start + group.column(v), x[v]);
    }
    if (dnormed) {
#pragma unroll
      for (int v = 0; v < V; v++) {
        if (IN_BACKWARD(group.column(v))) load8(dnormed + start + group.column(v), g[v]);
      }
    }
    if (dsum) {
#pragma unroll
      for (int v = 0; v < V; v++) {
        if (IN_BACKWARD(group.column(v))) load8(dsum + start + group.column(v), t[v]);
      }
    }
    const float m = mean ? mean[row] : 0;
    const float r = rstd[row];
    float along = 0, straight = 0;
#pragma unroll
    for (int v = 0; v < V; v++) {
#pragma unroll
      for (int i = 0; i < 8; i++) {
        x[v][i] = (x[v][i] - m) * r;
        weight_sums[v][i] = fmaf(g[v][i], x[v][i], weight_sums[v][i]);
        norm_bias_sums[v][i] += g[v][i];
        g[v][i] *= w[v][i];
        along = fmaf(g[v][i], x[v][i], along);
        straight += g[v][i];
      }
    }
    const float2 sums = group.sum(along, straight);
    const float a = sums.x * (1.0f / CHANNELS);
    const float s = mean ? sums.y * (1.0f / CHANNELS) : 0;
#pragma unroll
    for (int v = 0; v < V; v++) {
#pragma unroll
      for (int i = 0; i < 8; i++) t[v][i] = fmaf(r, g[v][i] - s - x[v][i] * a, t[v][i]);
      if (IN_BACKWARD(group.column(v))) {
        store8(total + start + group.column(v), t[v]);
#if ADD
#if DROP
        float u[8];
        draw8(draws, (u64)(start + group.column(v)), u);
#pragma unroll
        for (int i = 0; i < 8; i++) t[v][i] *= kept_or_not(u[i], p, kept);
        store8(dropped + start + group.column(v), t[v]);
#endif
#pragma unroll
        for (int i = 0; i < 8; i++) bias_sums[v][i] += t[v][i];
#endif
      }
    }
  }

  // Some groups have had a row less. Nothing needs them to have passed as many barriers, but the
  // sanitizer's racecheck counts them, and else takes the sums below for a race.
  if (BACKWARD_WARPS > 1 && row - group.row < rows) group.meet();

  // The block's groups have the same columns.
  __shared__ __align__(16) float buffer[BACKWARD_ROWS][CHANNELS];
  float* out = partials + (long long)blockIdx.x * 3 * CHANNELS;
#pragma unroll
  for (int k = 0; k < 3; k++) {
#pragma unroll
    for (int v = 0; v < V; v++) {
      if (IN_BACKWARD(group.column(v))) {
        store8(&buffer[group.row][group.column(v)],
            k == 0 ? weight_sums[v] : k == 1 ? norm_bias_sums[v] : bias_sums[v]);
      }
    }
    __syncthreads();
    for (int c = threadIdx.x; c < CHANNELS; c += BACKWARD_THREADS) {
      float all = 0;
#pragma unroll
      for (int j = 0; j < BACKWARD_ROWS; j++) all += buffer[j][c];
      out[k * CHANNELS + c] = all;
    }
    __syncthreads();
  }
}
