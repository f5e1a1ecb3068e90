// The weight of a token: an unsigned fixed-point number that represents exp((x - max) / T) or a
// plain weight. Sums of weights are integers, so they do not depend on the order of summation.
// SPEC.md §4.

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WEIGHT_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WEIGHT_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "sampler/arithmetic/host_device.h"

namespace token_sampler {

// Returns the number of fraction bits F of a weight, such that the sum over `vocab` (1 .. 2^32)
// tokens is at most 2^63.
inline int FractionBits(int64_t vocab) {
  const auto log2_ceil = static_cast<int>(std::bit_width(static_cast<uint64_t>(vocab - 1)));
  return log2_ceil > 19 ? 63 - log2_ceil : 44;
}

// The scale of logits' weights: log2(e) / T as two floats whose sum equals that double to 48 bits,
// F, and a difference below which every weight is 0.
struct WeightScale {
  float high;
  float low;
  int fraction_bits;
  float least;
};

// `temperature` must be in [1e-6, 1e6].
inline WeightScale MakeWeightScale(double temperature, int fraction_bits) {
  constexpr double kLog2E = 1.4426950408889634;
  const double scale = kLog2E / temperature;
  const auto high = static_cast<float>(scale);
  const auto low = static_cast<float>(scale - static_cast<double>(high));
  return {high, low, fraction_bits, -65.0f / high};
}

// Returns the weight of a logit from `difference` = x - max, <= 0 or -infinity. It is exactly 2^F
// at 0, and 0 if the true value is below 2^-64 of the largest. The relative error of weights above
// 2^24 is at most 2^-23.8. Has no branches, because the threads of a warp may differ: a difference
// that is too small gets the exponent -65, and all bits of the weight are shifted out.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t LogitWeight(float difference, WeightScale scale) {
  const float d = fmaxf(difference, scale.least);
  const float t = d * scale.high;
  const float residue = fmaf(d, scale.low, fmaf(d, scale.high, -t));
  constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23
  constexpr uint32_t kRoundToIntegerBits = 0x4b400000;
  const float rounded = t + kRoundToInteger;
  const float f = (t - (rounded - kRoundToInteger)) + residue;
  // The minimax polynomial of (2^f - 1) / f on [-1/2, 1/2].
  float q = 0.00015345811808457552f;
  q = fmaf(q, f, 0.001339993142330801f);
  q = fmaf(q, f, 0.009618488959641097f);
  q = fmaf(q, f, 0.05550328776463515f);
  q = fmaf(q, f, 0.24022646890593874f);
  q = fmaf(q, f, 0.6931472057374956f);
  const float scaled = (f * 1073741824.0f) * q;
  const auto mantissa = static_cast<uint32_t>((1 << 30) + static_cast<int32_t>(rintf(scaled)));
  // The exponent of 2 is not positive; it is in the last bits of `rounded`.
  uint32_t bits;
  memcpy(&bits, &rounded, sizeof(bits));
  const uint32_t down = kRoundToIntegerBits - bits;
  const uint64_t twice =
      (uint64_t{mantissa} << (scale.fraction_bits - 29)) >> (down < 63 ? down : 63);
  return (twice + 1) >> 1;
}

// Returns 2^(F - e), the factor `scale` of PlainWeight. 2^e is the least power of two above
// `largest` (finite, > 0).
TOKEN_SAMPLER_HOST_DEVICE inline double PlainWeightScale(float largest, int fraction_bits) {
  int exponent = 0;
  frexp(static_cast<double>(largest), &exponent);  // largest = m * 2^exponent, 1/2 <= m < 1
  return ldexp(1.0, fraction_bits - exponent);
}

// Returns the weight of a plain weight `value` (finite, >= 0), rounded to nearest, ties to even.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t PlainWeight(float value, double scale) {
  return static_cast<uint64_t>(rint(static_cast<double>(value) * scale));
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WEIGHT_H_
