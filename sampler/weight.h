// The weight of a token: an unsigned fixed-point number that stands for exp((x - max) / T), or for
// a plain weight. Sums of weights are integers, so no order of summation changes them. SPEC.md §4.

#ifndef TOKEN_SAMPLER_SAMPLER_WEIGHT_H_
#define TOKEN_SAMPLER_SAMPLER_WEIGHT_H_

#include <bit>
#include <cmath>
#include <cstdint>

#include "sampler/host_device.h"

namespace token_sampler {

// Fraction bits F of a weight, such that the sum over `vocab` (1 .. 2^32) tokens is at most 2^63.
inline int FractionBits(int64_t vocab) {
  const auto log2_ceil = static_cast<int>(std::bit_width(static_cast<uint64_t>(vocab - 1)));
  return log2_ceil > 19 ? 63 - log2_ceil : 44;
}

// log2(e) / T as two floats whose sum is that double to 48 bits, and F.
struct WeightScale {
  float high;
  float low;
  int fraction_bits;
};

// `temperature` in [1e-6, 1e6].
inline WeightScale MakeWeightScale(double temperature, int fraction_bits) {
  constexpr double kLog2E = 1.4426950408889634;
  const double scale = kLog2E / temperature;
  const auto high = static_cast<float>(scale);
  return {high, static_cast<float>(scale - static_cast<double>(high)), fraction_bits};
}

// The weight of a logit `difference` = x - max <= 0 (or -infinity). Exactly 2^F at 0; 0 where the
// true value is below 2^-64 of the largest. Relative error at most 2^-23.8 above 2^24.
TOKEN_SAMPLER_HOST_DEVICE inline uint64_t LogitWeight(float difference, WeightScale scale) {
  const float t = difference * scale.high;
  if (!(t > -64.0f)) return 0;
  const float residue = fmaf(difference, scale.low, fmaf(difference, scale.high, -t));
  constexpr float kRoundToInteger = 12582912.0f;  // 1.5 * 2^23
  const float n = (t + kRoundToInteger) - kRoundToInteger;
  const float f = (t - n) + residue;
  // Minimax polynomial of (2^f - 1) / f on [-1/2, 1/2].
  float q = 0.00015345811808457552f;
  q = fmaf(q, f, 0.001339993142330801f);
  q = fmaf(q, f, 0.009618488959641097f);
  q = fmaf(q, f, 0.05550328776463515f);
  q = fmaf(q, f, 0.24022646890593874f);
  q = fmaf(q, f, 0.6931472057374956f);
  const float scaled = (f * 1073741824.0f) * q;
  const auto mantissa =
      static_cast<uint64_t>(int64_t{1 << 30} + static_cast<int64_t>(rintf(scaled)));
  const int shift = static_cast<int>(n) + scale.fraction_bits - 30;
  if (shift >= 0) return mantissa << shift;
  return (mantissa + (uint64_t{1} << (-shift - 1))) >> -shift;
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

#endif  // TOKEN_SAMPLER_SAMPLER_WEIGHT_H_
