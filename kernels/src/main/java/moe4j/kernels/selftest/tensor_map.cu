// Boxes of a tensor read and written by maps (TensorMap.java), for the self-test alone.
#include "tma.cuh"

// compile: -DRANK=2
// compile: -DRANK=3
// RANK: the tensor's dimensions.
#ifndef RANK
#define RANK 2
#endif

#define COLUMNS 64
#define THREADS 128

#if RANK == 2
#define PLACE column, row
#else
#define PLACE column, row, (int)blockIdx.x / column_boxes / row_boxes
#endif

// A block has a box [rows, 64] of `from`, of which a matrix has column_boxes side by side and row_boxes
// below each other. It copies it to boxes [blocks, rows, 64] and writes twice its elements to `to`.
extern "C" __global__ void __launch_bounds__(THREADS) copy_boxes(
    const __grid_constant__ TensorMap from, const __grid_constant__ TensorMap to,
    bf16* __restrict__ boxes, int rows, int column_boxes, int row_boxes) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  extern __shared__ __align__(1024) char memory[];
  __shared__ __align__(8) u64 barrier;
  const int column = blockIdx.x % column_boxes * COLUMNS;
  const int row = blockIdx.x / column_boxes % row_boxes * rows;
  const u32 arrived = shared_address(&barrier), box = shared_address(memory);
  if (threadIdx.x == 0) {
    barrier_init(arrived, 1);
    barriers_are_ready();
    barrier_expect(arrived, rows * COLUMNS * sizeof(bf16));
    box_load(box, from, arrived, PLACE);
  }
  __syncthreads();
  barrier_wait(arrived, 0);
  bf16* out = boxes + (long long)blockIdx.x * rows * COLUMNS;
  for (int i = threadIdx.x; i < rows * COLUMNS / 8; i += THREADS) {
    float v[8];
    bf16* piece = reinterpret_cast<bf16*>(memory + swizzled(i / 8, i % 8));
    load8(piece, v);
    store8(out + 8 * i, v);
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] *= 2;
    store8(piece, v);
  }
  box_written();
  __syncthreads();
  if (threadIdx.x == 0) {
    box_store(to, box, PLACE);
    boxes_are_stored();
  }
#endif
}
