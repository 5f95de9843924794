// Products of experts on Hopper: consecutive groups of rows, each with a matrix of its own, by a persistent kernel
// of four warpgroups. One thread lets the copy engine bring operands into a ring in shared memory; two warpgroups
// multiply; the other warps take a tile's sums over in bf16, and have the time of the next tile's products for what is
// done with them. Where groups end is read on the device, every sum has a fixed order, and no memory has to be cleared
// beforehand (GroupedProducts.java).
#include "activation.cuh"
#include "wgmma.cuh"

// compile: -DOP=UP -DBLOCK_N=192 -DSTAGES=4
// compile: -DOP=UP -DACTIVATION=RELU -DBIAS=1 -DDROPOUT=1
// compile: -DOP=PLAIN_UP -DBLOCK_N=128 -DSTAGES=5
// compile: -DOP=DOWN -DBIAS=1 -DBLOCK_N=192 -DSTAGES=4
// compile: -DOP=DUP
// compile: -DOP=DUP -DACTIVATION=RELU -DBIAS=1 -DDROPOUT=1
// compile: -DOP=DX -DBLOCK_N=192 -DSTAGES=4
// compile: -DOP=DW
// compile: -DOP=DW -DACCUMULATE=1
// compile: -DOP=DW -DACCUMULATE=1 -DBLOCK_N=192 -DSTAGES=4

// What is computed, for the rows r of group g:
#define UP 0        // h[r] = x[r] w[g]^T, u[r] = weight[r] dropped(act(h[r] + bias[g]))
#define DOWN 1      // y[r] = u[r] w[g]^T + weight[r] bias[g]
#define DUP 2       // da = dy[r] w[g], dh[r] = weight[r] dropped(act'(h[r] + bias[g]) da), and with it
                    // totals[n_tile, r], by tiles of columns <da, dropped(act(h[r] + bias[g]))>
#define DX 3        // dx[r] = dh[r] w[g]
#define DW 4        // dw[g] = sum_r a[r]^T b[r], and totals[], the sums of its squares by warp; with ACCUMULATE dw is
                    // fp32, and such a sum, rounded to bf16, is added to what was there, or stored
#define PLAIN_UP 5  // h[r] = x[r] w[g]^T

#define GELU 1
#define RELU 2

#ifndef OP
#define OP DOWN
#endif
// A tile has so many columns, and 128 rows.
#ifndef BLOCK_N
#define BLOCK_N 256
#endif
#ifndef STAGES
#define STAGES 3
#endif
#ifndef ACTIVATION
#define ACTIVATION GELU
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef DROPOUT
#define DROPOUT 0
#endif
#ifndef ACCUMULATE
#define ACCUMULATE 0
#endif
#if ACCUMULATE
typedef float Stored;
#else
typedef bf16 Stored;
#endif

// Whether an operand's rows are what is summed over.
#define LEFT_TRANSPOSED (OP == DW)
#define RIGHT_TRANSPOSED (OP == DUP || OP == DX || OP == DW)

// 65,536 registers among 512 threads.
#define CONSUMER_REGISTERS 160
#define OTHER_REGISTERS 96

#define BLOCK_K 64
#define THREADS 512
#define WARPGROUP 128
#define TILE_ROWS 128
// Warps that finish tiles: all but the first and those that multiply.
#define FINISHERS 7
// 64 rows or columns of a stage.
#define SLAB 8192
#define LEFT_BYTES (TILE_ROWS / 64 * SLAB)
#define RIGHT_BYTES (BLOCK_N / 64 * SLAB)
#define STAGE_BYTES (LEFT_BYTES + RIGHT_BYTES)
// A tile's sums in bf16, 64 columns after the other.
#define STRIP (TILE_ROWS * 128)
#define SUMS_AT (STAGES * STAGE_BYTES)
#define BARRIERS_AT (SUMS_AT + BLOCK_N / 64 * STRIP)
#define TABLES_AT (BARRIERS_AT + 8 * (2 * STAGES + 2))

// Barriers of the ring's stages, and of the sums that are handed over.
#define FULL(s) (base + BARRIERS_AT + 8 * (s))
#define EMPTY(s) (base + BARRIERS_AT + 8 * (STAGES + (s)))
#define HANDED (base + BARRIERS_AT + 16 * STAGES)
#define TAKEN (base + BARRIERS_AT + 16 * STAGES + 8)

#include "tiles.cuh"

// ---- The thread that has operands brought.

// A stage of a tile; slabs: 64 rows each of the left operand.
__device__ __forceinline__ void bring(const TensorMap& left, const TensorMap& right, const Tile& t,
    int k_block, u32 to, u32 full, int slabs) {
  const int k = k_block * BLOCK_K;
  barrier_expect(full, slabs * SLAB + RIGHT_BYTES);
  for (int b = 0; b < slabs; b++) {
#if OP == DW
    box_load(to + b * SLAB, left, full, t.m + 64 * b, t.row + k);
#else
    box_load(to + b * SLAB, left, full, k, t.row + 64 * b);
#endif
  }
  to += LEFT_BYTES;
#if OP == DW
#pragma unroll
  for (int b = 0; b < BLOCK_N / 64; b++) {
    box_load(to + b * SLAB, right, full, t.n + 64 * b, t.row + k);
  }
#elif RIGHT_TRANSPOSED
#pragma unroll
  for (int b = 0; b < BLOCK_N / 64; b++) {
    box_load(to + b * SLAB, right, full, t.n + 64 * b, k, t.group);
  }
#else
  box_load(to, right, full, k, t.n, t.group);
#endif
}

__device__ __forceinline__ void produce(
    const Plan& p, const TensorMap& left, const TensorMap& right, u32 base) {
  Ring ring = {0, 1};
  for (int i = blockIdx.x; i < p.tiles; i += gridDim.x) {
    const Tile t = p.tile(i);
    const int slabs = min(2, ((OP == DW ? p.m - t.m : t.count) + 63) / 64);
    for (int k = 0; k < t.k_blocks; k++) {
      barrier_wait(EMPTY(ring.stage), ring.parity);
      bring(left, right, t, k, base + ring.stage * STAGE_BYTES, FULL(ring.stage), slabs);
      ring.next();
    }
  }
}

// ---- The warpgroups that multiply.

// A product has so many columns: one of 256 needs more registers than a thread has when the kernel begins.
#define PARTS (BLOCK_N == 256 ? 2 : 1)
#define PART_N (BLOCK_N / PARTS)

struct Sums {
  float of[PARTS][PART_N / 2];
};

// A warp's arrival.
__device__ __forceinline__ void release(u32 barrier) {
  if (threadIdx.x % 32 == 0) barrier_arrive(barrier);
}

// 16 of a stage's 64 terms of each sum.
__device__ __forceinline__ void terms(Sums& sums, u32 left, u32 right, int step, int add) {
  const u64 a = operand_of(
      left + step * (LEFT_TRANSPOSED ? 2048 : 32), LEFT_TRANSPOSED ? SLAB : 16);
#pragma unroll
  for (int n = 0; n < PARTS; n++) {
    const u64 b = operand_of(right + n * PART_N / 64 * SLAB + step * (RIGHT_TRANSPOSED ? 2048 : 32),
        RIGHT_TRANSPOSED ? SLAB : 16);
    product<LEFT_TRANSPOSED, RIGHT_TRANSPOSED>(sums.of[n], a, b, add);
  }
}

#if OP == DW
// Zeros for the rows after a group's last: the copy engine brought the next group's rows there, or what lies
// after all groups, which may be anything, and a step of 16 terms takes them in.
__device__ __forceinline__ void clear_rows(u32 to, int slabs, int from, int end) {
  const int rows = end - from;
  for (int i = threadIdx.x % WARPGROUP; i < slabs * rows * 8; i += WARPGROUP) {
    const int row = i / 8 % rows, slab = i / 8 / rows;
    store_shared(to + slab * SLAB + (from + row) * 128 + i % 8 * 16, make_uint4(0, 0, 0, 0));
  }
}
#endif

__device__ __forceinline__ void multiply(
    Sums& sums, Ring& ring, const Tile& t, u32 base, int group) {
  const u32 own = group * SLAB;
  const int whole = OP == DW ? t.count / BLOCK_K : t.k_blocks;
  u32 before = 0;
  for (int k = 0; k < whole; k++) {
    const u32 stage = base + ring.stage * STAGE_BYTES;
    barrier_wait(FULL(ring.stage), ring.parity);
    products_begin();
#pragma unroll
    for (int step = 0; step < 4; step++) {
      terms(sums, stage + own, stage + LEFT_BYTES, step, step != 0 || k != 0);
    }
    products_commit();
    if (k > 0) {
      products_wait<1>();
      release(before);
    }
    before = EMPTY(ring.stage);
    ring.next();
  }
#if OP == DW
  const int rest = t.count - whole * BLOCK_K;
  if (rest > 0) {
    products_wait<0>();
    if (whole > 0) release(before);
    const u32 stage = base + ring.stage * STAGE_BYTES;
    barrier_wait(FULL(ring.stage), ring.parity);
    const int steps = (rest + 15) / 16;
    if (rest % 16 != 0) {
      // Both warpgroups clear the right operand: neither has to wait for the other.
      clear_rows(stage + own, 1, rest, 16 * steps);
      clear_rows(stage + LEFT_BYTES, BLOCK_N / 64, rest, 16 * steps);
      box_written();
      barrier_among(1 + group, WARPGROUP);
    }
    for (int step = 0; step < steps; step++) {
      products_begin();
      terms(sums, stage + own, stage + LEFT_BYTES, step, step != 0 || whole != 0);
      products_commit();
    }
    before = EMPTY(ring.stage);
    ring.next();
  }
#endif
  products_wait<0>();
  release(before);
}

// Goes along with a tile of which no row is this warpgroup's.
__device__ __forceinline__ void pass(Ring& ring, const Tile& t, u32 base) {
  for (int k = 0; k < t.k_blocks; k++) {
    barrier_wait(FULL(ring.stage), ring.parity);
    release(EMPTY(ring.stage));
    ring.next();
  }
}

// Leaves a warpgroup's sums to the warps that finish tiles, in rows whose 16-byte pieces are swizzled.
__device__ __forceinline__ void hand_over(const Sums& sums, u32 to) {
  const int lane = threadIdx.x % 32, row = threadIdx.x % WARPGROUP / 32 * 16 + lane % 16;
#pragma unroll
  for (int j = 0; j < BLOCK_N / 8; j += 2) {
    const float* d = sums.of[j * 8 / PART_N] + 4 * (j % (PART_N / 8));
    store_matrices(to + j / 8 * STRIP + swizzled(row, j % 8 + lane / 16), pack(d[0], d[1]),
        pack(d[2], d[3]), pack(d[4], d[5]), pack(d[6], d[7]));
  }
}

__device__ __forceinline__ void consume(const Plan& p, u32 base) {
  const int group = threadIdx.x / WARPGROUP - 1;
  Ring ring = {0, 0};
  u32 taken = 1;
  for (int i = blockIdx.x; i < p.tiles; i += gridDim.x) {
    const Tile t = p.tile(i);
    if (t.k_blocks == 0) continue;
    const bool any = (OP == DW ? p.m - t.m : t.count) > group * 64;
    Sums sums;
    if (any) {
      multiply(sums, ring, t, base, group);
    } else {
      pass(ring, t, base);
    }
    barrier_wait(TAKEN, taken);
    taken ^= 1;
    if (any) hand_over(sums, base + SUMS_AT + group * SLAB);
    __syncwarp();
    release(HANDED);
  }
}

#include "finish.cuh"

// left, right: the operands. offsets: where each group's rows end. m: DW: rows of a result. n: its columns. k: terms
// of a sum, but for DW. The others are told of in finish.cuh.
extern "C" __global__ void __launch_bounds__(THREADS, 1) grouped(
    const __grid_constant__ TensorMap left, const __grid_constant__ TensorMap right,
    const int* offsets, int groups, int m, int n, int k, const bf16* bias, const float* weight,
    const bf16* before, Stored* out, bf16* second, float* totals, int all_rows
#if DROPOUT
    , u64 key, const long long* position, long long run, long long stride, long long offset, int layer,
    int operation, int least, float kept
#endif
#if ACCUMULATE
    , int add
#endif
) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ char memory[];
  const u32 start = shared_address(memory);
  const u32 base = (start + 1023) & ~1023u;
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; s++) {
      barrier_init(FULL(s), 1);
      barrier_init(EMPTY(s), 8);
    }
    barrier_init(HANDED, 8);
    barrier_init(TAKEN, FINISHERS);
    barriers_are_ready();
  }
  const Plan p = plan(offsets, groups, m, n, k, reinterpret_cast<int*>(memory + (base - start) + TABLES_AT));
  const int warpgroup = threadIdx.x / WARPGROUP;
  if (warpgroup == 1 || warpgroup == 2) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(CONSUMER_REGISTERS));
    consume(p, base);
    return;
  }
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(OTHER_REGISTERS));
  if (threadIdx.x < 32) {
    if (threadIdx.x == 0) produce(p, left, right, base);
    return;
  }
  Result r = {bias, weight, before, out, second, totals, all_rows};
#if DROPOUT
  r.draws = draws_of(key, position, run, stride, offset, layer, operation);
  r.least = (u32)least;
  r.kept = kept;
#endif
#if ACCUMULATE
  r.add = add != 0;
#endif
  finish(p, r, threadIdx.x / 32 - (warpgroup == 0 ? 1 : 9), base);
#endif
}
