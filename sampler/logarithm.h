// The natural logarithm that entropies and log-probabilities are defined by: IEEE operations in a
// fixed order, so that every build and device has the same bits. SPEC.md §7.

#ifndef TOKEN_SAMPLER_SAMPLER_LOGARITHM_H_
#define TOKEN_SAMPLER_SAMPLER_LOGARITHM_H_

#include <cstdint>
#include <cstring>

#include "sampler/host_device.h"

namespace token_sampler {

// ln(x) of a normal positive double; within 2 units in the last place of the larger of |ln x| and
// ln 2. From ln(m * 2^k) = k ln 2 + 2 atanh((m - 1) / (m + 1)), m in [sqrt(1/2), sqrt(2)).
TOKEN_SAMPLER_HOST_DEVICE inline double Log(double x) {
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
  constexpr double kLn2 = 0.6931471805599453;
  return static_cast<double>(exponent) * kLn2 + 2.0 * s * sum;
}

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_LOGARITHM_H_
