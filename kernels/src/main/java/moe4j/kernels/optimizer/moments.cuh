// How AdamW's state lies in memory: masters beside their parameters, and moments in fp32, in bf16 and
// in 8-bit codes. SplitMaster.java and MomentType.java say the same in libtorch's operations.
#pragma once
#include "common.cuh"

// An fp32 parameter is its own master.
struct Itself {};
// A bf16 parameter with an fp32 master.
struct Apart {};
// A bf16 parameter with the 16 bits that its master has and it has not.
struct Rest {};

template <typename W> struct Masters;

template <> struct Masters<Itself> {
  float* p;
  __device__ __forceinline__ Masters(void* parameter, void*, u64 offset)
      : p(static_cast<float*>(parameter) + offset) {}
  __device__ __forceinline__ u64 addresses() const { return (u64)p; }
  __device__ __forceinline__ float load(int i) const { return p[i]; }
  __device__ __forceinline__ void store(int i, float x) const { p[i] = x; }
  __device__ __forceinline__ void load8(int i, float (&x)[8]) const { ::load8(p + i, x); }
  __device__ __forceinline__ void store8(int i, const float (&x)[8]) const { ::store8(p + i, x); }
};

template <> struct Masters<Apart> {
  bf16* p;
  float* w;
  __device__ __forceinline__ Masters(void* parameter, void* master, u64 offset)
      : p(static_cast<bf16*>(parameter) + offset), w(static_cast<float*>(master) + offset) {}
  __device__ __forceinline__ u64 addresses() const { return (u64)p | (u64)w; }
  __device__ __forceinline__ float load(int i) const { return w[i]; }
  __device__ __forceinline__ void store(int i, float x) const {
    w[i] = x;
    p[i] = from_float<bf16>(x);
  }
  __device__ __forceinline__ void load8(int i, float (&x)[8]) const { ::load8(w + i, x); }
  __device__ __forceinline__ void store8(int i, const float (&x)[8]) const {
    ::store8(w + i, x);
    ::store8(p + i, x);
  }
};

// As integers: master = (parameter << 16) + rest, the rest being signed. So the rest is the master's
// low half, and the parameter the nearest bf16, away from zero where two are as near. A NaN becomes
// one whose high half is a NaN.
__device__ __forceinline__ u32 split_of(float x) {
  return x != x ? 0x7fc00000u : __float_as_uint(x);
}

template <> struct Masters<Rest> {
  bf16* p;
  unsigned short* r;
  __device__ __forceinline__ Masters(void* parameter, void* master, u64 offset)
      : p(static_cast<bf16*>(parameter) + offset),
        r(static_cast<unsigned short*>(master) + offset) {}
  __device__ __forceinline__ u64 addresses() const { return (u64)p | (u64)r; }
  __device__ __forceinline__ float load(int i) const {
    return __uint_as_float(((u32)p[i].bits << 16) + (u32)(int)(short)r[i]);
  }
  __device__ __forceinline__ void store(int i, float x) const {
    const u32 bits = split_of(x);
    p[i].bits = (unsigned short)((bits + 0x8000u) >> 16);
    r[i] = (unsigned short)bits;
  }
  __device__ __forceinline__ void load8(int i, float (&x)[8]) const {
    const uint4 a = *reinterpret_cast<const uint4*>(p + i);
    const uint4 b = *reinterpret_cast<const uint4*>(r + i);
    const u32 high[4] = {a.x, a.y, a.z, a.w};
    const u32 low[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int j = 0; j < 4; j++) {
      x[2 * j] = __uint_as_float((high[j] << 16) + (u32)((int)(low[j] << 16) >> 16));
      x[2 * j + 1] = __uint_as_float((high[j] & 0xffff0000u) + (u32)((int)low[j] >> 16));
    }
  }
  __device__ __forceinline__ void store8(int i, const float (&x)[8]) const {
    u32 high[4], low[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const u32 one = split_of(x[2 * j]), two = split_of(x[2 * j + 1]);
      high[j] = __byte_perm(one + 0x8000u, two + 0x8000u, 0x7632);
      low[j] = __byte_perm(one, two, 0x5410);
    }
    *reinterpret_cast<uint4*>(p + i) = make_uint4(high[0], high[1], high[2], high[3]);
    *reinterpret_cast<uint4*>(r + i) = make_uint4(low[0], low[1], low[2], low[3]);
  }
};

// Where a number is drawn: for the element with this index, in this step.
struct Place {
  u64 key;
  u64 index;
  u32 step;
};

// The draws of eight neighbours, of which the first's index is a multiple of eight: one call of Philox,
// a word for two of them. Both moments of an element are rounded by its draw.
struct Draws8 {
  u32 words[4];
  __device__ __forceinline__ explicit Draws8(const Place& at) {
    const uint4 four = philox(at.key, at.index >> 3, stream_of(at.step, 0, 1));
    words[0] = four.x;
    words[1] = four.y;
    words[2] = four.z;
    words[3] = four.w;
  }
  // 16 or 20 bits for the j-th: the lower of its word, or the upper.
  template <int BITS> __device__ __forceinline__ u32 bits(int j) const {
    return bits<BITS>(words[j / 2], j);
  }
  template <int BITS> __device__ static __forceinline__ u32 bits(u32 word, int j) {
    return j & 1 ? word >> (32 - BITS) : word & ((1u << BITS) - 1);
  }
};

// The same word for one element alone.
__device__ __forceinline__ u32 draw(const Place& at) {
  const Draws8 all(at);
  const u32 j = (u32)at.index & 7;
  return j < 4 ? j < 2 ? all.words[0] : all.words[1] : j < 6 ? all.words[2] : all.words[3];
}

// The largest of a warp's numbers, none of which is negative: as integers they have the same order.
__device__ __forceinline__ float largest_of_warp(float x) {
  u32 r;
  asm volatile("redux.sync.max.u32 %0, %1, 0xffffffff;" : "=r"(r) : "r"(__float_as_uint(x)));
  return __uint_as_float(r);
}

// Where moments are rounded, the update's root and quotient may be a few units in the last place off. What is below
// fp32's normal numbers would need instructions of its own: the root takes it for the smallest normal one, so that
// nothing is divided by zero, and the quotient takes it for zero.
__device__ __forceinline__ float root(float x) {
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(fmaxf(x, 0x1p-126f)));
  return y;
}
__device__ __forceinline__ float quotient(float x, float y) {
  float z;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(z) : "f"(y));
  return x * z;
}

// A moment of a slot. SQUARE: it is a mean of squares, which has no sign.
template <typename M, bool SQUARE> struct Moments;

template <bool SQUARE> struct Moments<float, SQUARE> {
  static const bool BLOCKS = false;
  static const bool ROUNDED = false;
  float* p;
  __device__ __forceinline__ Moments(void* base, float*, u64 offset)
      : p(static_cast<float*>(base) + offset) {}
  __device__ __forceinline__ u64 address() const { return (u64)p; }
  __device__ __forceinline__ float load(int i) const { return p[i]; }
  __device__ __forceinline__ void store(int i, float x, float, const Place&) const { p[i] = x; }
  __device__ __forceinline__ void store_scale(int, float) const {}
  __device__ __forceinline__ void load8(int i, float (&x)[8]) const { ::load8(p + i, x); }
  __device__ __forceinline__ void store8(int i, const float (&x)[8], const Draws8&) const {
    ::store8(p + i, x);
  }
};

// Rounded up or down by a draw, so that the mean is the number: what is cut off is the chance.
template <bool SQUARE> struct Moments<bf16, SQUARE> {
  static const bool BLOCKS = false;
  static const bool ROUNDED = true;
  bf16* p;
  __device__ __forceinline__ Moments(void* base, float*, u64 offset)
      : p(static_cast<bf16*>(base) + offset) {}
  __device__ __forceinline__ u64 address() const { return (u64)p; }
  __device__ __forceinline__ float load(int i) const { return to_float(p[i]); }
  __device__ __forceinline__ void store(int i, float x, float, const Place& at) const {
    const u32 bits = __float_as_uint(x) + Draws8::bits<16>(draw(at), (int)at.index);
    p[i].bits = (unsigned short)(bits >> 16);
  }
  __device__ __forceinline__ void store_scale(int, float) const {}
  __device__ __forceinline__ void load8(int i, float (&x)[8]) const { ::load8(p + i, x); }
  __device__ __forceinline__ void store8(
      int i, const float (&x)[8], const Draws8& draws) const {
    u32 words[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      words[j] = __byte_perm(
          __float_as_uint(x[2 * j]) + draws.bits<16>(2 * j),
          __float_as_uint(x[2 * j + 1]) + draws.bits<16>(2 * j + 1), 0x7632);
    }
    *reinterpret_cast<uint4*>(p + i) = make_uint4(words[0], words[1], words[2], words[3]);
  }
};

// An 8-bit float, of which 256 neighbours share a scale, the power of two below their largest: four
// bits of exponent and three of mantissa with a sign, or five and three without. It is rounded as
// bf16 is.
struct fp8 {
  unsigned char bits;
};

template <bool SQUARE> struct Moments<fp8, SQUARE> {
  static const bool BLOCKS = true;
  static const bool ROUNDED = true;
  fp8* p;
  float* scales;
  __device__ __forceinline__ Moments(void* base, float* all, u64 offset)
      : p(static_cast<fp8*>(base) + offset), scales(all + offset / 256) {}
  // The codes of eight are read as eight bytes.
  __device__ __forceinline__ u64 address() const { return (u64)p << 1; }

  // Times 2^-112 or 2^-96 a code's smallest normal number is fp32's: so the code is a piece of the
  // bits, and its subnormal numbers are fp32's. The code lies in the highest byte here.
  __device__ static __forceinline__ float decoded(u32 code, float scale) {
    return SQUARE ? __uint_as_float(code >> 4) * 0x1p96f * scale
                  : __uint_as_float((u32)((int)code >> 4) & 0x87ffffffu) * 0x1p112f * scale;
  }

  // A second moment's code is never zero's: the update divides by its root. Neither goes beyond the
  // largest code, to which nothing is added.
  __device__ static __forceinline__ u32 coded(float x, float inverse, u32 draw) {
    const float y = x * inverse * (SQUARE ? 0x1p-96f : 0x1p-112f);
    if (SQUARE) {
      return __float_as_uint(fmaxf(0x1p-129f, fminf(0x1.ep-96f, y))) + draw << 4;
    }
    const u32 bits = __float_as_uint(fmaxf(-0x1.ep-112f, fminf(0x1.ep-112f, y))) + draw;
    return (bits & 0x80000000u) | (bits << 4 & 0x7fffffffu);
  }

  // The exponent of the largest is one of a normal number, 1 to 254.
  __device__ static __forceinline__ u32 exponent(float largest) {
    return min(254u, max(1u, __float_as_uint(largest) >> 23));
  }
  __device__ static __forceinline__ float inverse(float largest) {
    const u32 e = exponent(largest);
    return __uint_as_float(e == 254 ? 0x00400000u : (254 - e) << 23);
  }

  __device__ __forceinline__ void store_scale(int i, float largest) const {
    if ((threadIdx.x & 31) == 0) {
      scales[i / 256] = largest == 0 ? 0 : __uint_as_float(exponent(largest) << 23);
    }
  }

  __device__ __forceinline__ float load(int i) const {
    return decoded((u32)p[i].bits << 24, scales[i / 256]);
  }
  __device__ __forceinline__ void store(int i, float x, float largest, const Place& at) const {
    const u32 code = coded(x, inverse(largest), Draws8::bits<20>(draw(at), (int)at.index));
    p[i].bits = largest == 0 ? 0 : (unsigned char)(code >> 24);
  }

  __device__ __forceinline__ void load8(int i, float (&x)[8]) const {
    const uint2 codes = *reinterpret_cast<const uint2*>(p + i);
    const float scale = scales[i / 256];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      // Zeros, and the byte above them.
      const u32 code = __byte_perm(j < 4 ? codes.x : codes.y, 0, (j & 3) << 12 | 0x444);
      x[j] = decoded(code, scale);
    }
  }

  // By all of a warp.
  __device__ __forceinline__ void store8(
      int i, const float (&x)[8], const Draws8& draws) const {
    float own = 0;
#pragma unroll
    for (int j = 0; j < 8; j++) own = fmaxf(own, fabsf(x[j]));
    const float largest = largest_of_warp(own);
    const float factor = inverse(largest);
    u32 words[2] = {0, 0};
    if (largest != 0) {
#pragma unroll
      for (int j = 0; j < 8; j += 4) {
        u32 codes[4];
#pragma unroll
        for (int k = 0; k < 4; k++) codes[k] = coded(x[j + k], factor, draws.bits<20>(j + k));
        // The highest bytes of all four.
        words[j / 4] = __byte_perm(
            __byte_perm(codes[0], codes[1], 0x73), __byte_perm(codes[2], codes[3], 0x73), 0x5410);
      }
    }
    *reinterpret_cast<uint2*>(p + i) = make_uint2(words[0], words[1]);
    store_scale(i, largest);
  }
};
