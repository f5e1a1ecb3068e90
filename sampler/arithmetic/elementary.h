// The logarithm and the exponential function of the specification: IEEE operations in a fixed
// order, so that every build and device computes the same bits. SPEC.md §9.

#ifndef TOKEN_SAMPLER_SAMPLER_ARITHMETIC_ELEMENTARY_H_
#define TOKEN_SAMPLER_SAMPLER_ARITHMETIC_ELEMENTARY_H_

#include <cstdint>
#include <cstring>

#include "sampler/arithmetic/host_device.h"

namespace token_sampler {

inline constexpr double kLn2 = 0.6931471805599453;

// Rounds |x| < 2^51 to an integer, ties to even. Equals rint, which is a function call on targets
// that may lack an instruction for it.
TOKEN_SAMPLER_HOST_DEVICE inline double RoundToInteger(double x) {
  constexpr double kRoundToInteger = 6755399441055744.0;  // 1.5 * 2^52
  return (x + kRoundToInteger) - kRoundToInteger;
}

// Returns ln(x) of a positive finite double. The error is at most 2 units in the last place of the
// larger of |ln x| and ln 2. Uses ln(m * 2^k) = k ln 2 + 2 atanh((m - 1) / (m + 1)), m in
// [sqrt(1/2), sqrt(2)).
TOKEN_SAMPLER_HOST_DEVICE inline double Log(double x) {
  constexpr double kSmallestNormal = 0x1p-1022;
  const bool subnormal = x < kSmallestNormal;
  if (subnormal) x *= 0x1p54;
  uint64_t bits;
  memcpy(&bits, &x, sizeof(bits));
  // Adding this carries into the exponent when the mantissa is above sqrt(2).
  constexpr uint64_t kSqrtHalfOffset = 0x3ff0000000000000u - 0x3fe6a09e667f3bcdu;
  const uint64_t shifted = bits + kSqrtHalfOffset;
  const auto exponent = static_cast<int64_t>(shifted >> 52) - 1023;
  bits -= static_cast<uint64_t>(exponent) << 52;
  double m;
  memcpy(&m, &bits, sizeof(m));

  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  // sum of z^k / (2k + 1); |s| <= 0.1716, so 11 terms reach 2^-55.
  double sum = 1.0 / 23.0;
  for (int k = 10; k >= 0; --k) sum = sum * z + 1.0 / (2 * k + 1);
  return static_cast<double>(subnormal ? exponent - 54 : exponent) * kLn2 + 2.0 * s * sum;
}

// Returns e^x, to 2 units in the last place. Returns 0 for x below -708 or NaN, and at most e^709.
TOKEN_SAMPLER_HOST_DEVICE inline double Exp(double x) {
  if (!(x >= -708.0)) return 0.0;
  if (x > 709.0) x = 709.0;
  constexpr double kLog2E = 1.4426950408889634;
  // ln 2 in two parts, the first with 32 bits, so that its product with n is exact.
  constexpr double kLn2High = 6.93147180369123816490e-01;
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  const double n = RoundToInteger(x * kLog2E);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  // The Taylor series; |r| <= 0.3466, so that 14 terms reach 2^-57.
  double sum = 1.0;
  for (int k = 13; k >= 1; --k) sum = 1.0 + r * sum / k;
  const auto bits = static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52;
  double power;
  memcpy(&power, &bits, sizeof(power));
  return sum * power;
}

// Returns base^exponent. `base` must be positive and normal.
TOKEN_SAMPLER_HOST_DEVICE inline double Pow(double base, double exponent) {
  return Exp(exponent * Log(base));
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ARITHMETIC_ELEMENTARY_H_
