// Products of experts on Hopper: consecutive groups of rows, each with a matrix of its own, by a persistent kernel
// of four warpgroups. One thread lets the copy engine bring operands into a ring in shared memory; two warpgroups
// multiply; the other warps take a tile's sums over in bf16, and have the time of the next tile's products for what is
// done with them. Where groups end is read on the device, every sum has a fixed order, and no memory has to be cleared
// beforehand (GroupedProducts.java).
#include "activation.cuh"
#include "wgmma.cuh"

// compile: -DOP=UP
// compile: -DOP=UP -DACTIVATION=RELU -DBIAS=1 -DDROPOUT=1
// compile: -DOP=PLAIN_UP -DBLOCK_N=128 -DSTAGES=5
// compile: -DOP=DOWN -DBIAS=1 -DBLOCK_N=128 -DSTAGES=5
// compile: -DOP=DUP
// compile: -DOP=DUP -DBIAS=1 -DDROPOUT=1
// compile: -DOP=DUP -DACTIVATION=RELU -DDROPOUT=1
// compile: -DOP=DX
// compile: -DOP=DW
// compile: -DOP=DW -DBLOCK_N=256 -DSTAGES=3
// compile: -DOP=DW -DACCUMULATE=1
// compile: -DOP=DW -DACCUMULATE=1 -DBLOCK_N=256 -DSTAGES=3

// What is computed, for the rows r of group g:
#define UP 0        // h[r] = x[r] w[g]^T, a[r] = dropped(act(h[r] + bias[g])), u[r] = weight[r] a[r]; h is stored, and of
                    // ReLU a: its derivative is 0 where a is
#define DOWN 1      // y[r] = u[r] w[g]^T + weight[r] bias[g]
#define DUP 2       // da = dy[r] w[g], dh[r] = weight[r] dropped(act'(h[r] + bias[g]) da), and with it
                    // totals[n_tile, r], by tiles of columns <da, a[r]>
#define DX 3        // dx[r] = dh[r] w[g]
#define DW 4        // dw[g] = sum_r a[r]^T b[r], and totals[], the sums of its squares by warp; with ACCUMULATE dw is
                    // fp32, and such a sum, rounded to bf16, is added to what was there, or stored
#define PLAIN_UP 5  // h[r] = x[r] w[g]^T

#define GELU 1
#define RELU 2

#ifndef OP
#define OP DOWN
#endif
// The left operand gives a tile 128 rows, the right one so many columns. The left one are the weights, and the right one
// the groups' rows, of which a tile has as many as are left of its group: a product can have any multiple of 32 columns,
// but rows by 64 only. Such tiles are turned when they are handed over. DW has rows' operands on both sides.
#ifndef BLOCK_N
#define BLOCK_N 192
#endif
#ifndef STAGES
#define STAGES 4
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
// Whether the copy engine stores a tile's sums as they are: the warps that finish tiles are then done sooner.
#define BOXES (OP == DW && !ACCUMULATE)

// Whether an operand's rows are what is summed over.
#define LEFT_TRANSPOSED (OP == DUP || OP == DX || OP == DW)
#define RIGHT_TRANSPOSED (OP == DW)

// 65,536 registers among 512 threads.
#define CONSUMER_REGISTERS 160
#define OTHER_REGISTERS 96

#define BLOCK_K 64
#define THREADS 512
#define WARPGROUP 128
#define BLOCK_M 128
// A result's rows and columns in a tile.
#if OP == DW
#define TALL BLOCK_M
#define WIDE BLOCK_N
#else
#define TALL BLOCK_N
#define WIDE BLOCK_M
#endif
// Warps that finish tiles: all but the first and those that multiply.
#define FINISHERS 7
// 64 rows or columns of a stage.
#define SLAB 8192
#define LEFT_BYTES (BLOCK_M / 64 * SLAB)
#define RIGHT_BYTES (BLOCK_N / 64 * SLAB)
#define STAGE_BYTES (LEFT_BYTES + RIGHT_BYTES)
static_assert(BLOCK_N % 64 == 0 && (OP == DW || BLOCK_N <= 192), "rows come 64 at a time, and are multiplied up to 192");
// A tile's sums in bf16, 64 columns after the other.
#define STRIPS (WIDE / 64)
#define STRIP (TALL * 128)
#define SUMS_AT (STAGES * STAGE_BYTES)
#define BARRIERS_AT (SUMS_AT + STRIPS * STRIP)
#define TABLES_AT (BARRIERS_AT + 8 * (2 * STAGES + 2))

// Barriers of the ring's stages, and of the sums that are handed over.
#define FULL(s) (base + BARRIERS_AT + 8 * (s))
#define EMPTY(s) (base + BARRIERS_AT + 8 * (STAGES + (s)))
#define HANDED (base + BARRIERS_AT + 16 * STAGES)
#define TAKEN (base + BARRIERS_AT + 16 * STAGES + 8)

#include "tiles.cuh"

// ---- The thread that has operands brought.

// A stage of a tile; slabs: 64 rows each of the operand that has rows of which a tile may have few.
__device__ __forceinline__ void bring(const TensorMap& left, const TensorMap& right, const Tile& t,
    int k_block, u32 to, u32 full, int slabs) {
  const int k = k_block * BLOCK_K;
  barrier_expect(full, slabs * SLAB + (OP == DW ? RIGHT_BYTES : LEFT_BYTES));
#if OP == DW
  for (int b = 0; b < slabs; b++) {
    box_load(to + b * SLAB, left, full, t.m + 64 * b, t.row + k);
  }
#pragma unroll
  for (int b = 0; b < BLOCK_N / 64; b++) {
    box_load(to + LEFT_BYTES + b * SLAB, right, full, t.n + 64 * b, t.row + k);
  }
#else
#if LEFT_TRANSPOSED
#pragma unroll
  for (int b = 0; b < BLOCK_M / 64; b++) {
    box_load(to + b * SLAB, left, full, t.n + 64 * b, k, t.group);
  }
#else
  box_load(to, left, full, k, t.n, t.group);
#endif
  for (int b = 0; b < slabs; b++) {
    box_load(to + LEFT_BYTES + b * SLAB, right, full, k, t.row + 64 * b);
  }
#endif
}

__device__ __forceinline__ void produce(
    const Plan& p, const TensorMap& left, const TensorMap& right, u32 base) {
  Ring ring = {0, 1};
  for (int i = blockIdx.x; i < p.tiles(); i += gridDim.x) {
    const Tile t = p.tile(i);
    const int slabs = (min(TALL, OP == DW ? p.m - t.m : t.count) + 63) / 64;
    for (int k = 0; k < t.k_blocks; k++) {
      barrier_wait(EMPTY(ring.stage), ring.parity);
      bring(left, right, t, k, base + ring.stage * STAGE_BYTES, FULL(ring.stage), slabs);
      ring.next();
    }
  }
}

// ---- The warpgroups that multiply.

// One product of 256 columns would need more registers than a thread has when the kernel begins.
#define FIRST_N(n) ((n) > 192 ? 128 : (n))

typedef float Sums[BLOCK_N / 2];

// A warp's arrival.
__device__ __forceinline__ void release(u32 barrier) {
  if (threadIdx.x % 32 == 0) barrier_arrive(barrier);
}

// 16 of a stage's 64 terms of each sum, for N columns.
template <int N>
__device__ __forceinline__ void terms(Sums& sums, u32 left, u32 right, int step, int add) {
  constexpr int First = FIRST_N(N);
  const u64 a = operand_of(
      left + step * (LEFT_TRANSPOSED ? 2048 : 32), LEFT_TRANSPOSED ? SLAB : 16);
  right += step * (RIGHT_TRANSPOSED ? 2048 : 32);
  const u32 apart = RIGHT_TRANSPOSED ? SLAB : 16;
  product<LEFT_TRANSPOSED, RIGHT_TRANSPOSED, First>(sums, a, operand_of(right, apart), add);
  if constexpr (N > First) {
    product<LEFT_TRANSPOSED, RIGHT_TRANSPOSED, N - First>(
        sums + First / 2, a, operand_of(right + First / 64 * SLAB, apart), add);
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

template <int N>
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
      terms<N>(sums, stage + own, stage + LEFT_BYTES, step, step != 0 || k != 0);
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
      terms<N>(sums, stage + own, stage + LEFT_BYTES, step, step != 0 || whole != 0);
      products_commit();
    }
    before = EMPTY(ring.stage);
    ring.next();
  }
#endif
  products_wait<0>();
  release(before);
}

// Goes along with a tile of which nothing is this warpgroup's.
__device__ __forceinline__ void pass(Ring& ring, const Tile& t, u32 base) {
  for (int k = 0; k < t.k_blocks; k++) {
    barrier_wait(FULL(ring.stage), ring.parity);
    release(EMPTY(ring.stage));
    ring.next();
  }
}

// Leaves a warpgroup's sums to the warps that finish tiles, in a result's rows, whose 16-byte pieces are swizzled.
template <int N> __device__ __forceinline__ void hand_over(const Sums& sums, u32 base, int group) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x % WARPGROUP / 32;
#pragma unroll
  for (int j = 0; j < N / 8; j += 2) {
    const float* d = sums + 4 * j;
    const u32 a = pack(d[0], d[1]), b = pack(d[2], d[3]), c = pack(d[4], d[5]), e = pack(d[6], d[7]);
#if OP == DW
    const u32 row = group * 64 + warp * 16 + lane % 16;
    store_matrices(base + SUMS_AT + j / 8 * STRIP + swizzled(row, j % 8 + lane / 16), a, b, c, e);
#else
    // A warp has 16 columns of the result: of four matrices two lie side by side, and two below them.
    const u32 row = j * 8 + lane / 16 * 8 + lane % 8;
    store_turned(base + SUMS_AT + group * STRIP + swizzled(row, warp * 2 + lane / 8 % 2), a, b, c, e);
#endif
  }
#if BOXES
  box_written();
#endif
}

// A tile, N columns of the product.
template <int N>
__device__ __forceinline__ void work(Ring& ring, const Tile& t, u32 base, int group, u32 taken) {
  Sums sums;
  multiply<N>(sums, ring, t, base, group);
  barrier_wait(TAKEN, taken);
  hand_over<N>(sums, base, group);
}

__device__ __forceinline__ void consume(const Plan& p, u32 base) {
  const int group = threadIdx.x / WARPGROUP - 1;
  Ring ring = {0, 0};
  u32 taken = 1;
  for (int i = blockIdx.x; i < p.tiles(); i += gridDim.x) {
    const Tile t = p.tile(i);
    if (t.k_blocks == 0) continue;
    // Columns of a result that are not there are zeros, and are left, as what is finished of a row counts them.
    if (OP == DW && p.m - t.m <= group * 64) {
      pass(ring, t, base);
      barrier_wait(TAKEN, taken);
    } else {
#if OP == DW
      work<BLOCK_N>(ring, t, base, group, taken);
#else
      switch ((t.count + 31) / 32) {
        case 1: work<32>(ring, t, base, group, taken); break;
        case 2: work<64>(ring, t, base, group, taken); break;
        case 3: work<96>(ring, t, base, group, taken); break;
#if BLOCK_N > 128
        case 4: work<128>(ring, t, base, group, taken); break;
        case 5: work<160>(ring, t, base, group, taken); break;
#endif
        default: work<BLOCK_N>(ring, t, base, group, taken);
      }
#endif
    }
    taken ^= 1;
    __syncwarp();
    release(HANDED);
  }
}

#include "finish.cuh"

// left, right: the operands. offsets: where each group's rows end. m: DW: rows of a result. n: its columns. k: terms
// of a sum, but for DW. boxes: out, for the copy engine. Of a group of more than most rows, where that is not 0, sums
// over equal parts of these go to parts [slots, m, n] instead. The others are told of in finish.cuh.
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
#if BOXES
    , const __grid_constant__ TensorMap boxes, const __grid_constant__ TensorMap parts, int most
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
#if !BOXES
  const int most = 0;
#endif
  const Plan p = plan(offsets, groups, m, n, k, most, reinterpret_cast<int*>(memory + (base - start) + TABLES_AT));
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
#if BOXES
  r.boxes = &boxes;
  r.parts = &parts;
#endif
  finish(p, r, threadIdx.x / 32 - (warpgroup == 0 ? 1 : 9), base);
#endif
}
