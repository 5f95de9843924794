// A block moves over a tile of columns and rows: TILE_WARPS warps, each on a row of its own, a lane on
// WIDTH neighbouring columns (Tiles.java).
#pragma once
#include "common.cuh"

// TYPE: the elements' type. WIDTH: columns a lane holds, 8 where rows are aligned to 16 bytes, or 1.
#ifndef TYPE
#define TYPE bf16
#endif
#ifndef WIDTH
#define WIDTH 8
#endif
typedef TYPE T;

#define TILE_WARPS 8

// A lane's place: its first row, the step to its next, its columns.
struct Place {
  long long row;
  long long stride;
  int chunk;
  int first_column;
  int column;
};

__device__ __forceinline__ Place place(int column_blocks) {
  Place p;
  p.chunk = blockIdx.x / column_blocks;
  p.row = (long long)p.chunk * TILE_WARPS + threadIdx.x / 32;
  p.stride = (long long)(gridDim.x / column_blocks) * TILE_WARPS;
  p.first_column = blockIdx.x % column_blocks * 32 * WIDTH;
  p.column = p.first_column + threadIdx.x % 32 * WIDTH;
  return p;
}

// After the last row the last is read again and dropped, so that all loads start without a branch.
__device__ __forceinline__ long long clamped(long long row, long long rows) {
  return row < rows ? row : rows - 1;
}

// The columns' sums of the block, in a fixed order; all threads call it, with zeros where
// there is no column.
template <int N>
__device__ __forceinline__ void store_column_sums(
    const float (&sums)[N], float* out, int first_column, int columns) {
  __shared__ float buffer[TILE_WARPS][32 * N];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < N; i++) buffer[warp][i * 32 + lane] = sums[i];
  __syncthreads();
  for (int c = threadIdx.x; c < 32 * N; c += 32 * TILE_WARPS) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < TILE_WARPS; w++) sum += buffer[w][(c % N) * 32 + c / N];
    if (first_column + c < columns) out[first_column + c] = sum;
  }
  __syncthreads();
}
