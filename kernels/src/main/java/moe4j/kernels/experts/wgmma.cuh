// Matrix products by a warpgroup of Hopper: 128 threads, operands in shared memory (wgmma). sm_90a alone has it.
#pragma once
#include "tma.cuh"

// A barrier among some of a block's warps, by number; 0 is the block's.
__device__ __forceinline__ void barrier_among(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// ---- Shared memory by address.

// Four 8 x 8 matrices of packed bf16 to shared memory: each lane gives a row's address.
__device__ __forceinline__ void store_matrices(u32 row, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
      "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

// The same, each matrix turned: a lane's address is that of a column.
__device__ __forceinline__ void store_turned(u32 row, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row),
      "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

__device__ __forceinline__ uint4 load_shared(u32 address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "r"(address) : "memory");
  return v;
}

__device__ __forceinline__ void store_shared(u32 address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y),
      "r"(v.z), "r"(v.w) : "memory");
}

// An operand's tile in shared memory with swizzled rows of 128 bytes, 1,024 bytes a group of eight. step is
// the distance of two groups of 64 columns where the product's sum does not run along rows.
__device__ __forceinline__ u64 operand_of(u32 address, u32 step) {
  return (u64)((address & 0x3ffff) >> 4) | (u64)(step >> 4) << 16 | (u64)(1024 >> 4) << 32 |
         1ull << 62;
}

__device__ __forceinline__ void products_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until all but the latest groups of products are done.
template <int Latest> __device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Latest) : "memory");
}

#define SUMS8(i)                                                                           \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define SUMS16(i) SUMS8(i), SUMS8(i + 8)
#define NAMES0 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES1 \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES2 \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define NAMES3 \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES4 \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define NAMES5 \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define WGMMA(N, SUMS, A, B, ADD, LEFT, RIGHT, ...)                                          \
  asm volatile(                                                                            \
      "{\n"                                                                                \
      ".reg .pred add;\n"                                                                  \
      "setp.ne.b32 add, " ADD ", 0;\n"                                                     \
      "wgmma.mma_async.sync.aligned.m64n" N "k16.f32.bf16.bf16 " SUMS ", " A ", " B         \
      ", add, 1, 1, " LEFT ", " RIGHT ";\n"                                                \
      "}"                                                                                  \
      : __VA_ARGS__                                                                        \
      : "l"(a), "l"(b), "r"(add), "n"(LeftTransposed), "n"(RightTransposed))

// d += a b for 64 x 16 by 16 x N, or d = a b where add is 0: columns of d are as in mma.cuh, by tiles of 8. An
// operand is transposed where the sum does not run along its rows. N is a multiple of 32, up to 192.
template <int LeftTransposed, int RightTransposed, int N>
__device__ __forceinline__ void product(float* d, u64 a, u64 b, int add) {
  if constexpr (N == 32) {
    WGMMA("32", "{" NAMES0 "}", "%16", "%17", "%18", "%19", "%20",
        SUMS16(0));
  } else if constexpr (N == 64) {
    WGMMA("64", "{" NAMES0 ", " NAMES1 "}", "%32", "%33", "%34", "%35", "%36",
        SUMS16(0), SUMS16(16));
  } else if constexpr (N == 96) {
    WGMMA("96", "{" NAMES0 ", " NAMES1 ", " NAMES2 "}", "%48", "%49", "%50", "%51", "%52",
        SUMS16(0), SUMS16(16), SUMS16(32));
  } else if constexpr (N == 128) {
    WGMMA("128", "{" NAMES0 ", " NAMES1 ", " NAMES2 ", " NAMES3 "}", "%64", "%65", "%66", "%67", "%68",
        SUMS16(0), SUMS16(16), SUMS16(32), SUMS16(48));
  } else if constexpr (N == 160) {
    WGMMA("160", "{" NAMES0 ", " NAMES1 ", " NAMES2 ", " NAMES3 ", " NAMES4 "}", "%80", "%81", "%82", "%83", "%84",
        SUMS16(0), SUMS16(16), SUMS16(32), SUMS16(48), SUMS16(64));
  } else if constexpr (N == 192) {
    WGMMA("192", "{" NAMES0 ", " NAMES1 ", " NAMES2 ", " NAMES3 ", " NAMES4 ", " NAMES5 "}", "%96", "%97", "%98", "%99", "%100",
        SUMS16(0), SUMS16(16), SUMS16(32), SUMS16(48), SUMS16(64), SUMS16(80));
  } else {
    static_assert(N == 0, "no product has so many columns");
  }
}
