// Hopper's tensor memory accelerator: boxes of tensors to shared memory and back, by a map that the host
// has made (TensorMap.java), and the barriers that tell when they have come.
#pragma once
#include "common.cuh"

// A parameter of this type is const and __grid_constant__: the accelerator reads it where it lies.
struct alignas(64) TensorMap {
  u64 bits[16];
};

// Where something in shared memory lies for instructions that take such addresses.
__device__ __forceinline__ u32 shared_address(const void* p) {
  return (u32)__cvta_generic_to_shared(p);
}

// Where, in a box of rows of 128 bytes that begins at a multiple of 1,024, a 16-byte piece of a row lies.
__device__ __forceinline__ u32 swizzled(u32 row, u32 piece) {
  return row * 128 + ((piece ^ (row & 7)) << 4);
}

// A barrier for so many arrivals, as others see it after barriers_are_ready and a barrier of the block.
__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void barriers_are_ready() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and lets the barrier wait for so many bytes, too.
__device__ __forceinline__ void barrier_expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Waits until the barrier's phase of this parity is over; the first phase's is 0.
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra over;\n"
      "bra again;\n"
      "over:\n"
      "}\n" ::"r"(barrier), "r"(parity)
      : "memory");
}

// A box to shared memory, its bytes counted by the barrier. x is the first column, y the first row.
__device__ __forceinline__ void box_load(
    u32 to, const TensorMap& map, u32 barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
      "[%2];" ::"r"(to), "l"(&map), "r"(barrier), "r"(x), "r"(y)
      : "memory");
}

__device__ __forceinline__ void box_load(
    u32 to, const TensorMap& map, u32 barrier, int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(to), "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z)
      : "memory");
}

// A box from shared memory, after box_written by all that have written it.
__device__ __forceinline__ void box_store(const TensorMap& map, u32 from, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map),
               "r"(from), "r"(x), "r"(y)
               : "memory");
}

__device__ __forceinline__ void box_store(const TensorMap& map, u32 from, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(&map),
               "r"(from), "r"(x), "r"(y), "r"(z)
               : "memory");
}

// What this thread has written in shared memory is there for the accelerator.
__device__ __forceinline__ void box_written() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Waits until the boxes that this thread has stored are in memory.
__device__ __forceinline__ void boxes_are_stored() {
  asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;" ::: "memory");
}

// Copies neighbours to shared memory, and has the barrier count the bytes. Addresses and bytes are multiples
// of 16.
__device__ __forceinline__ void bulk_load(u32 to, const void* from, int bytes, u32 barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// Copies neighbours from shared memory, after box_written by all threads that have written them.
__device__ __forceinline__ void bulk_store(void* to, u32 from, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(from),
               "r"(bytes)
               : "memory");
}

// Makes a group of what this thread has stored since its last group.
__device__ __forceinline__ void stores_are_a_group() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Waits until shared memory has been read for all of this thread's groups but the last few.
template <int Last> __device__ __forceinline__ void stores_have_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Last) : "memory");
}
