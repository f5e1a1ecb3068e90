#include "sampler/stages/log_weight.h"

#include <algorithm>
#include <cmath>

#include "sampler/arithmetic/elementary.h"

namespace token_sampler {
namespace {

constexpr double kLog2Unit = 0x1p-40;
static_assert(kLog2Bits == 40);

int64_t ToLog2Units(double octaves) {
  return static_cast<int64_t>(RoundToInteger(octaves / kLog2Unit));
}

}  // namespace

int64_t Log2LogitWeight(float difference, const WeightScale& scale) {
  // The product t of SPEC.md §4, above -64.
  return ToLog2Units(double{difference * scale.high});
}

int64_t Log2PlainWeight(uint64_t weight, int fraction_bits) {
  return ToLog2Units(LogOfWeight(weight, fraction_bits) / kLn2);
}

double MeanLogWeight(Int128 sum_log2_weights, uint64_t total_weight) {
  return ToDouble(sum_log2_weights) / static_cast<double>(total_weight) * kLog2Unit * kLn2;
}

double LogOfWeight(uint64_t weight, int fraction_bits) {
  return Log(std::ldexp(static_cast<double>(weight), -fraction_bits));
}

double Entropy(Int128 sum_log2_weights, uint64_t total_weight, int fraction_bits) {
  const double log_total = LogOfWeight(total_weight, fraction_bits);
  return std::max(log_total - MeanLogWeight(sum_log2_weights, total_weight), 0.0);
}

}  // namespace token_sampler
