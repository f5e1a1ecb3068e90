// Exact integer arithmetic beyond 64 bits, for scaled masses and the threshold of a draw.

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WIDE_INTEGER_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WIDE_INTEGER_H_

#include <cstdint>
#include <cstring>

#include "sampler/arithmetic/host_device.h"

namespace token_sampler {

__extension__ typedef unsigned __int128 Uint128;
__extension__ typedef __int128 Int128;

// Returns floor(uniform * total / 2^128), which is below `total` if that is > 0.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t ScaleUniform(Uint128 uniform, uint64_t total) {
  const auto high = static_cast<uint64_t>(uniform >> 64);
  const auto low = static_cast<uint64_t>(uniform);
  const Uint128 carry = (Uint128{low} * total) >> 64;
  return static_cast<uint64_t>((Uint128{high} * total + carry) >> 64);
}

// The same for a total of more than 64 bits.
TOKEN_SAMPLER_HOST_DEVICE inline Uint128 ScaleUniformWide(Uint128 uniform, Uint128 total) {
  constexpr Uint128 kLowHalf = ~uint64_t{0};
  const Uint128 low_high = (uniform & kLowHalf) * (total >> 64);
  const Uint128 high_low = (uniform >> 64) * (total & kLowHalf);
  const Uint128 low_low = ((uniform & kLowHalf) * (total & kLowHalf)) >> 64;
  const Uint128 middle = low_low + (low_high & kLowHalf) + (high_low & kLowHalf);
  return (uniform >> 64) * (total >> 64) + (low_high >> 64) + (high_low >> 64) + (middle >> 64);
}

// Returns the nearest double, ties to even.
TOKEN_SAMPLER_HOST_DEVICE inline double ToDouble(Uint128 value) {
  // The 64 leading bits round like the whole value if the last one is set whenever a later bit is.
  int shift = 0;
  while ((value >> shift) >> 64 != 0) ++shift;
  auto leading = static_cast<uint64_t>(value >> shift);
  if ((value & ((Uint128{1} << shift) - 1)) != 0) leading |= 1;
  double scale = 1.0;
  for (int i = 0; i < shift; ++i) scale *= 2.0;
  return static_cast<double>(leading) * scale;
}
TOKEN_SAMPLER_HOST_DEVICE inline double ToDouble(Int128 value) {
  return value < 0 ? -ToDouble(Uint128{0} - static_cast<Uint128>(value))
                   : ToDouble(static_cast<Uint128>(value));
}

// Returns ceil(fraction * total), exactly. `fraction` must be in [0, 1], and `total` at most 2^63.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t CeilFraction(double fraction, uint64_t total) {
  uint64_t bits;
  memcpy(&bits, &fraction, sizeof(bits));
  const auto biased_exponent = static_cast<int>((bits >> 52) & 0x7ff);
  const uint64_t stored = bits & ((uint64_t{1} << 52) - 1);
  const uint64_t mantissa = biased_exponent == 0 ? stored : stored | (uint64_t{1} << 52);
  // fraction = mantissa * 2^-shift, shift >= 52 because fraction <= 1.
  const int shift = biased_exponent == 0 ? 1074 : 1075 - biased_exponent;
  const Uint128 product = Uint128{mantissa} * total;  // < 2^116
  if (product == 0) return 0;
  if (shift >= 128) return 1;
  const auto floor = static_cast<uint64_t>(product >> shift);
  return floor + ((Uint128{floor} << shift) != product ? 1 : 0);
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WIDE_INTEGER_H_
