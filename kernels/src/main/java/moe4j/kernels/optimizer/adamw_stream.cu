// AdamW's update of large tensors, on GPUs that copy between memory and shared memory by themselves. One
// warp of a block has pieces of all streams copied into a ring in shared memory, another one has them
// copied back from there once they are updated; the others compute. So the memory is always busy, whatever
// the computing warps wait for. With moments of few bits a piece takes 0.9 us, in which one warp for both
// ways is not ready with the next. Every element is updated as in adamw.cu, with the same bits.
#include "adamw.cuh"
#include "tma.cuh"

// compile: -DMASTER=Rest -DGRADIENT=bf16
// compile: -DMASTER=Rest -DGRADIENT=bf16 -DFIRST=bf16 -DSECOND=bf16 -DGROUPS=3
// compile: -DMASTER=Rest -DGRADIENT=bf16 -DFIRST=fp8 -DSECOND=fp8 -DGROUPS=3
// compile: -DMASTER=Apart -DGRADIENT=float
// compile: -DMASTER=Itself -DGRADIENT=float

// The types of the slots' masters and gradients; those of the moments are FIRST and SECOND.
#ifndef MASTER
#define MASTER Itself
#endif
#ifndef GRADIENT
#define GRADIENT float
#endif
// The shared memory of a block.
#ifndef MEMORY
#define MEMORY 232448
#endif

// Warps that compute on a piece, 256 elements each, and pieces that are computed on at once.
#define WARPS (PIECE / 256)
#ifndef GROUPS
#define GROUPS 2
#endif
#define COMPUTING (32 * WARPS * GROUPS)
#define THREADS (COMPUTING + 64)

// So many of the pieces stored last may still be on their way to memory when the place of the piece before
// them is filled again.
#define STORING 2

// Bytes that an element takes in shared memory.
template <typename W> struct Bytes;
template <> struct Bytes<Itself> {
  static const int PARAMETER = 4, MASTERS = 0;
};
template <> struct Bytes<Apart> {
  static const int PARAMETER = 2, MASTERS = 4;  // the parameter is only written
};
template <> struct Bytes<Rest> {
  static const int PARAMETER = 2, MASTERS = 2;
};
template <typename M> struct IsCode {
  static const bool YES = false;
};
template <> struct IsCode<fp8> {
  static const bool YES = true;
};
template <typename W> struct IsApart {
  static const bool YES = false;
};
template <> struct IsApart<Apart> {
  static const bool YES = true;
};

// What the computing warps have to know of a piece.
struct alignas(16) Header {
  u64 key;
  u64 index;  // of its first element, for random numbers
  GRADIENT* gradient;
  float decay;
};

// A place of the ring: the streams of a piece, one after the other.
#define PARAMETER_BYTES (PIECE * Bytes<MASTER>::PARAMETER)
#define MASTER_BYTES (PIECE * Bytes<MASTER>::MASTERS)
#define FIRST_BYTES (PIECE * (int)sizeof(FIRST))
#define SECOND_BYTES (PIECE * (int)sizeof(SECOND))
#define GRADIENT_BYTES (PIECE * (int)sizeof(GRADIENT))
#define SCALES_BYTES (WARPS * 4)
#define MASTER_AT PARAMETER_BYTES
#define FIRST_AT (MASTER_AT + MASTER_BYTES)
#define SECOND_AT (FIRST_AT + FIRST_BYTES)
#define GRADIENT_AT (SECOND_AT + SECOND_BYTES)
#define SCALES1_AT (GRADIENT_AT + GRADIENT_BYTES)
#define SCALES2_AT (SCALES1_AT + (IsCode<FIRST>::YES ? SCALES_BYTES : 0))
#define HEADER_AT (SCALES2_AT + (IsCode<SECOND>::YES ? SCALES_BYTES : 0))
#define PLACE_BYTES ((HEADER_AT + (int)sizeof(Header) + 127) / 128 * 128)
// All that comes by copies.
#define COMING (HEADER_AT - (IsApart<MASTER>::YES ? PARAMETER_BYTES : 0))

// A place always has the same group. Copies may come in another order than they were asked for, and a group that had
// not seen the copy before come would take that one's phase of the barrier for its own.
#define PLACES ((MEMORY - 128) / (PLACE_BYTES + 24) / GROUPS * GROUPS)

// Barriers: the copies of a piece have come; its warps are done; it is on its way to memory.
#define CAME(place) (PLACES * PLACE_BYTES + 24 * (place))
#define DONE(place) (CAME(place) + 8)
#define LEFT(place) (CAME(place) + 16)

static_assert(PLACES > GROUPS + STORING, "The ring is too small for the pieces under way.");

// The pieces of a block: every gridDim.x-th of those of all slots, in their order. runs: pairs of a
// slot's number and of how many pieces it has. The slot's entries are kept, as memory is far for one thread.
struct Walk {
  const Slot* slots;
  const u64* runs;
  Slot slot;
  u64 pieces;  // of the slot
  u64 piece;

  __device__ __forceinline__ Walk(const Slot* all, const u64* first)
      : slots(all), runs(first), pieces(first[1]), piece(blockIdx.x) {
    settle();
  }
  __device__ __forceinline__ void settle() {
    while (piece >= pieces) {
      piece -= pieces;
      runs += 2;
      pieces = runs[1];
    }
    slot = slots[runs[0]];
  }
  // To the block's next piece, which there must be.
  __device__ __forceinline__ void next() {
    piece += gridDim.x;
    if (piece >= pieces) settle();
  }
  template <typename T> __device__ __forceinline__ T* of(void* stream) const {
    return static_cast<T*>(stream) + piece * PIECE;
  }
};

__device__ __forceinline__ void fetch(
    const Walk& walk, const Scalars& s, char* memory, u32 base, int place) {
  const Slot& slot = walk.slot;
  Header* header = reinterpret_cast<Header*>(memory + place * PLACE_BYTES + HEADER_AT);
  header->key = slot.key;
  header->index = slot.first + walk.piece * PIECE;
  header->gradient = walk.of<GRADIENT>(slot.gradient);
  header->decay = decay_of(s, slot);
  const u32 to = base + place * PLACE_BYTES, came = base + CAME(place);
  barrier_expect(came, COMING);
  if (!IsApart<MASTER>::YES) {
    bulk_load(to, static_cast<char*>(slot.parameter) + walk.piece * PARAMETER_BYTES, PARAMETER_BYTES,
        came);
  }
  if (MASTER_BYTES > 0) {
    bulk_load(to + MASTER_AT, static_cast<char*>(slot.master) + walk.piece * MASTER_BYTES,
        MASTER_BYTES, came);
  }
  bulk_load(to + FIRST_AT, walk.of<FIRST>(slot.exp_avg), FIRST_BYTES, came);
  bulk_load(to + SECOND_AT, walk.of<SECOND>(slot.exp_avg_sq), SECOND_BYTES, came);
  bulk_load(to + GRADIENT_AT, walk.of<GRADIENT>(slot.gradient), GRADIENT_BYTES, came);
  if (IsCode<FIRST>::YES) {
    bulk_load(to + SCALES1_AT, slot.scales1 + walk.piece * WARPS, SCALES_BYTES, came);
  }
  if (IsCode<SECOND>::YES) {
    bulk_load(to + SCALES2_AT, slot.scales2 + walk.piece * WARPS, SCALES_BYTES, came);
  }
}

__device__ __forceinline__ void store_back(const Walk& walk, u32 base, int place) {
  const Slot& slot = walk.slot;
  const u32 from = base + place * PLACE_BYTES;
  bulk_store(static_cast<char*>(slot.parameter) + walk.piece * PARAMETER_BYTES, from, PARAMETER_BYTES);
  if (MASTER_BYTES > 0) {
    bulk_store(static_cast<char*>(slot.master) + walk.piece * MASTER_BYTES, from + MASTER_AT,
        MASTER_BYTES);
  }
  bulk_store(walk.of<FIRST>(slot.exp_avg), from + FIRST_AT, FIRST_BYTES);
  bulk_store(walk.of<SECOND>(slot.exp_avg_sq), from + SECOND_AT, SECOND_BYTES);
  if (IsCode<FIRST>::YES) {
    bulk_store(slot.scales1 + walk.piece * WARPS, from + SCALES1_AT, SCALES_BYTES);
  }
  if (IsCode<SECOND>::YES) {
    bulk_store(slot.scales2 + walk.piece * WARPS, from + SCALES2_AT, SCALES_BYTES);
  }
  stores_are_a_group();
}

// One thread: pieces come in order, each as soon as its place is free.
__device__ __forceinline__ void fetch_all(
    const Slot* slots, const u64* runs, u64 count, const Scalars& s, char* memory, u32 base) {
  Walk walk(slots, runs);
  int place = 0;
  u32 parity = 1;  // of what has not begun
  for (u64 k = 0; k < count; k++) {
    if (k > 0) walk.next();
    barrier_wait(base + LEFT(place), parity);
    fetch(walk, s, memory, base, place);
    if (++place == PLACES) {
      place = 0;
      parity ^= 1;
    }
  }
}

// One thread: pieces go back in order.
__device__ __forceinline__ void store_all(const Slot* slots, const u64* runs, u64 count, u32 base) {
  Walk walk(slots, runs);
  int place = 0, leaving = 0;
  u32 parity = 0;
  for (u64 k = 0; k < count; k++) {
    if (k > 0) walk.next();
    barrier_wait(base + DONE(place), parity);
    store_back(walk, base, place);
    if (++place == PLACES) {
      place = 0;
      parity ^= 1;
    }
    if (k < STORING) continue;
    stores_have_read<STORING>();
    barrier_arrive(base + LEFT(leaving));
    if (++leaving == PLACES) leaving = 0;
  }
  boxes_are_stored();
}

__device__ __forceinline__ void compute(
    u64 count, const Scalars& s, bool zero, char* memory, u32 base) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int i = warp % WARPS * 256 + 8 * lane;
  int place = warp / WARPS;
  u32 parity = 0;
  for (u64 k = place; k < count; k += GROUPS) {
    barrier_wait(base + CAME(place), parity);
    char* at = memory + place * PLACE_BYTES;
    const Header header = *reinterpret_cast<const Header*>(at + HEADER_AT);
    const State<MASTER, FIRST, SECOND, GRADIENT> on = {
        Masters<MASTER>(at, at + MASTER_AT, 0),
        Moments<FIRST, false>(at + FIRST_AT, reinterpret_cast<float*>(at + SCALES1_AT), 0),
        Moments<SECOND, true>(at + SECOND_AT, reinterpret_cast<float*>(at + SCALES2_AT), 0),
        reinterpret_cast<GRADIENT*>(at + GRADIENT_AT)};
    update8(on, i, header.decay, s, Place{header.key, header.index + i, s.step});
    if (zero) zero8(header.gradient + i);
    box_written();
    __syncwarp();
    if (lane == 0) barrier_arrive(base + DONE(place));
    place += GROUPS;
    if (place >= PLACES) {
      place -= PLACES;
      parity ^= 1;
    }
  }
}

// table: how many pieces there are, and runs of them (Walk); all slots are of the types that this is
// compiled for, and all their addresses multiples of 16. scalars: as finalise of adamw.cu leaves them.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    update_stream(const Slot* slots, const u64* table, const Scalars* scalars, int zero_after) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) char memory[];
  const u64 pieces = table[0];
  if (blockIdx.x >= pieces) return;
  const u64 count = (pieces - 1 - blockIdx.x) / gridDim.x + 1;
  const u64* runs = table + 1;
  const Scalars s = *scalars;
  if (s.found_inf != 0) {
    if (!zero_after) return;
    Walk walk(slots, runs);
    for (u64 k = 0; k < count; k++) {
      if (k > 0) walk.next();
      GRADIENT* g = walk.of<GRADIENT>(walk.slot.gradient);
      for (int i = 8 * threadIdx.x; i < PIECE; i += 8 * THREADS) zero8(g + i);
    }
    return;
  }
  const u32 base = shared_address(memory);
  if (threadIdx.x == 0) {
    for (int place = 0; place < PLACES; place++) {
      barrier_init(base + CAME(place), 1);
      barrier_init(base + DONE(place), WARPS);
      barrier_init(base + LEFT(place), 1);
    }
    barriers_are_ready();
  }
  __syncthreads();
  if (threadIdx.x < COMPUTING) {
    compute(count, s, zero_after, memory, base);
  } else if (threadIdx.x == COMPUTING) {
    fetch_all(slots, runs, count, s, memory, base);
  } else if (threadIdx.x == COMPUTING + 32) {
    store_all(slots, runs, count, base);
  }
#endif
}
