// Rows in consecutive groups, of which offsets say where each ends (RowChunks.java). A block moves over
// a chunk of neighbouring rows and a tile of columns, one group after the other, so that what belongs to
// a group stays in registers. How groups lie in chunks is found on the device.
#pragma once
#include "tile.cuh"

// WEIGHT: the type of the rows' weights. WEIGHTED: whether there are any.
#ifndef WEIGHT
#define WEIGHT float
#endif
#ifndef WEIGHTED
#define WEIGHTED 1
#endif

// A lane's place: its block's first row, how many there are, and its columns. After the last column the
// last ones are read again and dropped, so that all loads start without a branch.
struct Strip {
  int chunk;
  long long row;
  int count;
  int tile;
  int column;
  bool there;
};

__device__ __forceinline__ Strip strip(
    long long rows, int columns, int chunk_rows, int column_blocks) {
  Strip s;
  s.chunk = blockIdx.x / column_blocks;
  s.row = (long long)s.chunk * chunk_rows;
  s.count = (int)min((long long)chunk_rows, rows - s.row);
  s.tile = blockIdx.x % column_blocks;
  const int column = (s.tile * 32 + threadIdx.x % 32) * WIDTH;
  s.there = column < columns;
  s.column = s.there ? column : columns - WIDTH;
  return s;
}

// Rows of one group among a block's; after the last group's end the group is one past the last.
struct Segment {
  int group;
  int from;
  int to;
};

// The segment that begins at a block's row, whose group is not before the one given. Without offsets all
// rows are of group 0.
__device__ __forceinline__ Segment segment(
    const int* offsets, int groups, int group, int from, const Strip& at) {
  Segment s = {0, from, at.count};
  if (offsets && from < at.count) {
    const long long row = at.row + from;
    int low = group, high = groups;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (offsets[middle] > row) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    s.group = low;
    if (low < groups) s.to = (int)min((long long)at.count, offsets[low] - at.row);
  }
  return s;
}

// The segments of a block, to all of its threads the same.
#define EACH_SEGMENT(s, at, offsets, groups)                                           \
  for (Segment s = segment(offsets, groups, 0, 0, at); s.from < at.count;              \
       s = segment(offsets, groups, s.group, s.to, at))

// A warp's rows of a segment, so many at a time: the first of them.
#define EACH_ROWS(first, s, together)                                                  \
  for (int first = s.from + threadIdx.x / 32; first < s.to; first += TILE_WARPS * (together))

// The k-th of them, or, after the segment's end, its last row.
__device__ __forceinline__ int row_of(int first, int k, const Segment& s) {
  const int row = first + k * TILE_WARPS;
  return row < s.to ? row : s.to - 1;
}

// The element of a block's row in a lane's first column.
__device__ __forceinline__ long long element(const Strip& at, int row, int columns) {
  return (at.row + row) * columns + at.column;
}

// Leaves a block's sums for a group. The pairs of a chunk and a group in it are in an order in which
// neither goes back, so that the numbers' sum is another one for each.
__device__ __forceinline__ void store_sums(const float (&sums)[WIDTH], float* partials,
    const Strip& at, const Segment& s, int columns) {
  float* out = partials + ((long long)at.chunk + s.group) * columns;
  store_column_sums(sums, out, at.tile * 32 * WIDTH, columns);
}

// Leaves what a row adds up to in a block's columns; all lanes call it.
__device__ __forceinline__ void store_dot(
    float sum, float* dots, const Strip& at, int row, long long rows) {
  sum = warp_sum(at.there ? sum : 0.0f);
  if (threadIdx.x % 32 == 0) dots[at.tile * rows + at.row + row] = sum;
}

__device__ __forceinline__ float weight_of(
    const WEIGHT* weight, const Strip& at, int row) {
  return WEIGHTED ? to_float(weight[at.row + row]) : 1.0f;
}
