// The weight of a token: an unsigned fixed-point number that stands for exp((x - max) / T), or for
// a plain weight. Sums of weights are integers, so no order of summation changes them. SPEC.md §4.

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WEIGHT_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WEIGHT_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "sampler/arithmetic/host_device.h"

namespace token_sampler {

// Fraction bits F of a weight, such that the sum over `vocab` (1 .. 2^32) tokens is at most 2^63.
inline int FractionBits(int64_t vocab) {
  const auto log2_ceil = static_cast<int>(std::bit_width(static_cast<uint64_t>(vocab - 1)));
  return log2_ceil > 19 ? 63 - log2_ceil : 44;
}

// log2(e) / T as two floats whose sum is that double to 48 bits, F, and a difference below which
// every weight is 0.
struct WeightScale {
  float high;
  float low;
  int fraction_bits;
  float least;
};

// `temperature` in [1e-6, 1e6].
inline WeightScale MakeWeightScale(double temperature, int fraction_bits) {
  constexpr double kLog2E = 1.4426950408889634;
  const double scale = kLog2E / temperature;
  const auto high = static_cast<float>(scale);
  const auto low = static_cast<float>(scale - static_cast<double>(high));
  return {high, low, fraction_bits, -65.0f / high};
}

// The weight of a logit `difference` = x - max <= 0 (or -infinity). Exactly 2^F at 0; 0 where the
// true value is below 2^-64 of the largest. Relative error at most 2^-23.8 above 2^24.
// Without branches, for the threads of a warp need not agree: what is too small gets the exponent
// -65 and is shifted out.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t LogitWeight(float difference, WeightScale scale) {
  const float d = fmaxf(difference, scale.least);
  const float t = d * scale.high;
  const float residue = fmaf(d, scale.low, fmaf(d, scale.high, -t));
  constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23
  constexpr uint32_t kRoundToIntegerBits = 0x4b400000;
  const float rounded = t + kRoundToInteger;
  const float f = (t - (rounded - kRoundToInteger)) + residue;
  // Minimax polynomial of (2^f - 1) / f on [-1/2, 1/2].
  float q = 0.00015345811808457552f;
  q = fmaf(q, f, 0.001339993142330801f);
  q = fmaf(q, f, 0.009618488959641097f);
  q = fmaf(q, f, 0.05550328776463515f);
  q = fmaf(q, f, 0.24022646890593874f);
  q = fmaf(q, f, 0.6931472057374956f);
  const float scaled = (f * 1073741824.0f) * q;
  const auto mantissa = static_cast<uint32_t>((1 << 30) + static_cast<int32_t>(rintf(scaled)));
  // The exponent of 2 is not positive, and stands in the last bits of `rounded`.
  uint32_t bits;
  memcpy(&bits, &rounded, sizeof(bits));
  const uint32_t down = kRoundToIntegerBits - bits;
  const uint64_t twice =
      (uint64_t{mantissa} << (scale.fraction_bits - 29)) >> (down < 63 ? down : 63);
  return (twice + 1) >> 1;
}

// 2^(F - e) with 2^e the power of two just above `largest` (finite, > 0): the factor that
// PlainWeight multiplies with.
TOKEN_SAMPLER_HOST_DEVICE inline double PlainWeightScale(float largest, int fraction_bits) {
  int exponent = 0;
  frexp(static_cast<double>(largest), &exponent);  // largest = m * 2^exponent, 1/2 <= m < 1
  return ldexp(1.0, fraction_bits - exponent);
}

// The weight of a plain weight `value` (finite, >= 0): rounded to nearest, ties to even.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t PlainWeight(float value, double scale) {
  return static_cast<uint64_t>(rint(static_cast<double>(value) * scale));
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_WEIGHT_H_
