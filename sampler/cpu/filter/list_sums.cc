#include "sampler/cpu/filter/list_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampler/stages/log_weight.h"
#include "sampler/stages/logit_spread.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Returns the least value of the prefix that ends before the greatest value that fails.
template <class Fails>
float LeastKept(const TokenList& list, const Fails& fails) {
  float last = -kInfinity;
  list.ForEach([&](size_t i) {
    if (fails(i)) last = std::max(last, list.values[i]);
  });
  return last == -kInfinity ? last : std::nextafter(last, kInfinity);
}

}  // namespace

int64_t Log2Weight(const TokenList& list, size_t i, const Weigher& weigher) {
  return weigher.plain ? Log2PlainWeight(list.weights[i], weigher.scale.fraction_bits)
                       : Log2LogitWeight(list.values[i] - weigher.max, weigher.scale);
}

Int128 SumLog2Weights(const TokenList& list, const Weigher& weigher) {
  Int128 sum = 0;
  list.ForEach([&](size_t i) {
    if (list.weights[i] > 0) sum += Int128{Log2Weight(list, i, weigher)} * list.weights[i];
  });
  return sum;
}

Uint128 SumSquares(const TokenList& list) {
  Uint128 sum = 0;
  list.ForEach([&](size_t i) { sum += Uint128{list.weights[i]} * list.weights[i]; });
  return sum;
}

float LeastOfWeight(uint64_t threshold, const TokenList& list) {
  return LeastKept(list, [&](size_t i) { return list.weights[i] < threshold; });
}

float LeastOfLogWeight(double threshold, const TokenList& list, const Weigher& weigher) {
  // Far from the threshold compare the weight itself, because a logarithm takes longer than
  // everything else. The error of Log is below 2^-40, and that of the library's exp far below the
  // margin.
  constexpr double kMargin = 0x1p-20;
  const int fraction_bits = weigher.scale.fraction_bits;
  const double weight = std::ldexp(std::exp(std::min(threshold, 1.0)), fraction_bits);
  const double fail = weight * (1 - kMargin);
  const double pass = weight * (1 + kMargin);
  return LeastKept(list, [&](size_t i) {
    const auto exact = static_cast<double>(list.weights[i]);
    if (exact < fail || exact == 0) return true;
    return exact < pass && LogOfWeight(list.weights[i], fraction_bits) < threshold;
  });
}

float LeastOfSigmas(double sigmas, float largest, const TokenList& list) {
  float smallest = largest;
  list.ForEach([&](size_t i) { smallest = std::min(smallest, list.values[i]); });
  if (smallest == largest) return -kInfinity;
  LogitSpread spread(largest, smallest);
  list.ForEach([&](size_t i) { spread.Add(list.values[i]); });
  const double limit = sigmas * spread.Sigma();
  return LeastKept(list, [&](size_t i) { return spread.Distance(list.values[i]) > limit; });
}

}  // namespace token_sampler::cpu
