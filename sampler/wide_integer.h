// Exact integer arithmetic beyond 64 bits: scaled masses and the draw threshold.

#ifndef TOKEN_SAMPLER_SAMPLER_WIDE_INTEGER_H_
#define TOKEN_SAMPLER_SAMPLER_WIDE_INTEGER_H_

#include <bit>
#include <cstdint>

#include "sampler/host_device.h"

namespace token_sampler {

__extension__ typedef unsigned __int128 Uint128;

// floor(uniform * total / 2^128), below total whenever total > 0.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t ScaleUniform(Uint128 uniform, uint64_t total) {
  const auto high = static_cast<uint64_t>(uniform >> 64);
  const auto low = static_cast<uint64_t>(uniform);
  const Uint128 carry = (Uint128{low} * total) >> 64;
  return static_cast<uint64_t>((Uint128{high} * total + carry) >> 64);
}

// ceil(fraction * total), exact. `fraction` is in [0, 1], total at most 2^63.
inline uint64_t CeilFraction(double fraction, uint64_t total) {
  const auto bits = std::bit_cast<uint64_t>(fraction);
  const auto biased_exponent = static_cast<int>((bits >> 52) & 0x7ff);
  const uint64_t stored = bits & ((uint64_t{1} << 52) - 1);
  const uint64_t mantissa = biased_exponent == 0 ? stored : stored | (uint64_t{1} << 52);
  // fraction = mantissa * 2^-shift, shift >= 52 because fraction <= 1.
  const int shift = biased_exponent == 0 ? 1074 : 1075 - biased_exponent;
  const Uint128 product = Uint128{mantissa} * total;  // < 2^116
  if (product == 0) return 0;
  if (shift >= 128) return 1;
  const Uint128 unit = Uint128{1} << shift;
  return static_cast<uint64_t>((product + (unit - 1)) >> shift);
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_WIDE_INTEGER_H_
