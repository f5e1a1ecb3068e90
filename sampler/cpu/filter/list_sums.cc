#include "sampler/cpu/filter/list_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampler/rows/paced.h"
#include "sampler/stages/log_weight.h"
#include "sampler/stages/logit_spread.h"

namespace token_sampler::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Returns the least value of the prefix that ends before `last`, the greatest value that fails.
float After(float last) { return last == -kInfinity ? last : NextAbove(last); }

// Returns the greatest value among tokens of less weight than `threshold`; -infinity if there are
// none.
float GreatestBelow(uint64_t threshold, const TokenList& list) {
  // Several at a time and without a branch, so that one comparison does not wait for another.
  constexpr size_t kAtOnce = 4;
  float greatest[kAtOnce] = {-kInfinity, -kInfinity, -kInfinity, -kInfinity};
  InPieces(list.pace, list.count, kPieceItems, [&](size_t begin, size_t end) {
    const float* const values = list.values.data();
    const uint64_t* const weights = list.weights.data();
    const auto take = [&](size_t i, float& so_far) {
      so_far = std::max(so_far, weights[i] < threshold ? values[i] : -kInfinity);
    };
    for (; begin + kAtOnce <= end; begin += kAtOnce) {
      for (size_t a = 0; a < kAtOnce; ++a) take(begin + a, greatest[a]);
    }
    for (; begin < end; ++begin) take(begin, greatest[0]);
  });
  return std::max(std::max(greatest[0], greatest[1]), std::max(greatest[2], greatest[3]));
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
  return After(GreatestBelow(threshold, list));
}

float LeastOfLogWeight(double threshold, const TokenList& list, const Weigher& weigher) {
  // Far from the threshold compare the weight itself, because a logarithm takes longer than
  // everything else. The error of Log is below 2^-40, and that of the library's exp far below the
  // margin.
  constexpr double kMargin = 0x1p-20;
  const int fraction_bits = weigher.scale.fraction_bits;
  const double weight = std::ldexp(std::exp(std::min(threshold, 1.0)), fraction_bits);
  const auto fail = std::max<uint64_t>(static_cast<uint64_t>(std::ceil(weight * (1 - kMargin))), 1);
  const auto pass = static_cast<uint64_t>(std::ceil(weight * (1 + kMargin)));
  float last = GreatestBelow(fail, list);
  list.ForEach([&](size_t i) {
    if (list.weights[i] < fail || list.weights[i] >= pass || list.values[i] <= last) return;
    if (LogOfWeight(list.weights[i], fraction_bits) < threshold) last = list.values[i];
  });
  return After(last);
}

float LeastOfSigmas(double sigmas, float largest, const TokenList& list) {
  float smallest = largest;
  list.ForEach([&](size_t i) { smallest = std::min(smallest, list.values[i]); });
  if (smallest == largest) return -kInfinity;
  LogitSpread spread(largest, smallest);
  list.ForEach([&](size_t i) { spread.Add(list.values[i]); });
  const double limit = sigmas * spread.Sigma();
  float last = -kInfinity;
  list.ForEach([&](size_t i) {
    if (spread.Distance(list.values[i]) > limit) last = std::max(last, list.values[i]);
  });
  return After(last);
}

}  // namespace token_sampler::cpu
