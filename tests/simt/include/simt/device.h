// Emulates what device code uses besides C++: qualifiers, indices, warp operations, atomics,
// intrinsics. Semantics: CUDA C++ Programming Guide 13.0, "C++ language extensions".

#ifndef TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_SIMT_DEVICE_H_
#define TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_SIMT_DEVICE_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/simt/engine.h"

#define __device__
#define __global__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

inline constexpr int warpSize = 32;

struct alignas(16) uint4 {
  unsigned x;
  unsigned y;
  unsigned z;
  unsigned w;
};
struct alignas(16) float4 {
  float x;
  float y;
  float z;
  float w;
};

namespace simt {

inline void* DynamicSharedMemory() { return SharedMemory(); }

template <typename T>
uint64_t ToBits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <typename T>
T FromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Returns the value of lane `from` if that is in the segment of `width` lanes; otherwise the own
// value.
template <typename T>
T Shuffle(uint32_t mask, T value, int from, int width, Place place) {
  const WarpValues all = ExchangeInWarp(mask, ToBits(value), place);
  const int lane = static_cast<int>(Lane());
  const int first = lane / width * width;
  if (from < first || from >= first + width) from = lane;
  if ((mask >> from & 1) == 0) Fail("shuffles from a lane that is not in the mask");
  return FromBits<T>(all.values[from]);
}

template <typename T, typename Op>
T Reduce(uint32_t mask, T value, Place place, Op op) {
  const WarpValues all = ExchangeInWarp(mask, ToBits(value), place);
  for (int lane = 0; lane < 32; ++lane) {
    const bool other = (mask >> lane & 1) != 0 && lane != static_cast<int>(Lane());
    if (other) value = op(value, FromBits<T>(all.values[lane]));
  }
  return value;
}

template <typename T, typename Op>
T FetchAndApply(T* address, Op op) {
  const T old = *address;
  *address = op(old);
  return old;
}

}  // namespace simt

// A parameter for the place of the call.
#define SIMT_PLACE simt::Place place = simt::Place::Here()

// ---- Barriers ----

inline void __syncthreads(SIMT_PLACE) { simt::BlockBarrier(false, place); }
inline int __syncthreads_or(int predicate, SIMT_PLACE) {
  return simt::BlockBarrier(predicate != 0, place).count > 0 ? 1 : 0;
}
inline int __syncthreads_and(int predicate, SIMT_PLACE) {
  const simt::Votes votes = simt::BlockBarrier(predicate != 0, place);
  return votes.count == votes.threads ? 1 : 0;
}
inline int __syncthreads_count(int predicate, SIMT_PLACE) {
  return static_cast<int>(simt::BlockBarrier(predicate != 0, place).count);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_PLACE) {
  simt::ExchangeInWarp(mask, 0, place);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- Warp ----

template <typename T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, SIMT_PLACE) {
  const int first = static_cast<int>(simt::Lane()) / width * width;
  return simt::Shuffle(mask, value, first + (from & (width - 1)), width, place);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, SIMT_PLACE) {
  const int from = static_cast<int>(simt::Lane()) - static_cast<int>(distance);
  return simt::Shuffle(mask, value, from, width, place);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, SIMT_PLACE) {
  const int from = static_cast<int>(simt::Lane()) + static_cast<int>(distance);
  return simt::Shuffle(mask, value, from, width, place);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SIMT_PLACE) {
  return simt::Shuffle(mask, value, static_cast<int>(simt::Lane()) ^ bits, width, place);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_PLACE) {
  const simt::WarpValues all = simt::ExchangeInWarp(mask, predicate != 0 ? 1 : 0, place);
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0 && all.values[lane] != 0) ballot |= 1u << lane;
  }
  return ballot;
}
inline int __any_sync(unsigned mask, int predicate, SIMT_PLACE) {
  return __ballot_sync(mask, predicate, place) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_PLACE) {
  return __ballot_sync(mask, predicate, place) == mask ? 1 : 0;
}
template <typename T>
T __reduce_add_sync(unsigned mask, T value, SIMT_PLACE) {
  return simt::Reduce(mask, value, place, [](T a, T b) { return static_cast<T>(a + b); });
}
template <typename T>
T __reduce_max_sync(unsigned mask, T value, SIMT_PLACE) {
  return simt::Reduce(mask, value, place, [](T a, T b) { return a > b ? a : b; });
}
template <typename T>
T __reduce_min_sync(unsigned mask, T value, SIMT_PLACE) {
  return simt::Reduce(mask, value, place, [](T a, T b) { return a < b ? a : b; });
}
template <typename T>
T __reduce_or_sync(unsigned mask, T value, SIMT_PLACE) {
  return simt::Reduce(mask, value, place, [](T a, T b) { return a | b; });
}

// ---- Atomics: one thread runs at a time ----

template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return simt::FetchAndApply(address, [&](T old) { return static_cast<T>(old + value); });
}
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return simt::FetchAndApply(address, [&](T old) { return old > value ? old : value; });
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return simt::FetchAndApply(address, [&](T old) { return old < value ? old : value; });
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return simt::FetchAndApply(address, [&](T old) { return old | value; });
}
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return simt::FetchAndApply(address, [&](T) { return value; });
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return simt::FetchAndApply(address, [&](T old) { return old == expected ? value : old; });
}

// ---- Bits ----

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(unsigned x) { return std::countl_zero(x); }
inline int __clzll(unsigned long long x) { return std::countl_zero(x); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1;
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1) << (31 - bit);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(uint64_t{a} * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

// ---- Arithmetic, rounded to nearest ----

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline int __float2int_rn(float x) { return static_cast<int>(std::rint(x)); }
inline unsigned __float2uint_rz(float x) { return static_cast<unsigned>(x); }
inline unsigned long long __double2ull_rn(double x) {
  return static_cast<unsigned long long>(std::rint(x));
}

template <typename T>
T __ldg(const T* address) {
  return *address;
}
template <typename T>
T __ldcs(const T* address) {
  return *address;
}

#endif  // TOKEN_SAMPLER_TESTS_SIMT_INCLUDE_SIMT_DEVICE_H_
