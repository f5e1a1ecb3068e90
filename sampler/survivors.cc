#include "sampler/survivors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampler/elementary.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"

namespace token_sampler {
namespace {

constexpr double kLn2 = 0.6931471805599453;
constexpr double kLog2Unit = 0x1p-40;
static_assert(kLog2Bits == 40);

int64_t ToLog2Units(double octaves) {
  return static_cast<int64_t>(RoundToInteger(octaves / kLog2Unit));
}

}  // namespace

uint64_t Survivors::TotalWeight() const {
  uint64_t total = 0;
  for (const Token& token : tokens) total += token.weight;
  return total;
}

void Survivors::Weigh(double at) {
  temperature = at;
  reference = tokens.front().value;
  for (const Token& token : tokens) reference = std::max(reference, token.value);
  if (kind == InputKind::kLogits) {
    const WeightScale scale = MakeWeightScale(at, fraction_bits);
    for (Token& token : tokens) token.weight = LogitWeight(token.value - reference, scale);
  } else {
    const double scale = PlainWeightScale(reference, fraction_bits);
    for (Token& token : tokens) token.weight = PlainWeight(token.value, scale);
  }
}

Survivors SortTokens(InputKind kind, absl::Span<const float> values) {
  Survivors survivors;
  survivors.kind = kind;
  survivors.fraction_bits = FractionBits(static_cast<int64_t>(values.size()));
  const float impossible = ImpossibleValue(kind);
  for (uint32_t id = 0; id < values.size(); ++id) {
    if (values[id] != impossible) survivors.tokens.push_back({id, values[id], 0});
  }
  std::sort(survivors.tokens.begin(), survivors.tokens.end(), [](const Token& a, const Token& b) {
    return OrderKey(a.value, a.id) > OrderKey(b.value, b.id);
  });
  survivors.Weigh(1.0);
  return survivors;
}

ProbabilityRange ProbabilityRangeOf(const Survivors& survivors) {
  uint64_t largest = 0;
  uint64_t smallest = std::numeric_limits<uint64_t>::max();
  for (const Token& token : survivors.tokens) {
    largest = std::max(largest, token.weight);
    if (token.weight > 0) smallest = std::min(smallest, token.weight);
  }
  const auto total = static_cast<double>(survivors.TotalWeight());
  return {static_cast<double>(largest) / total, static_cast<double>(smallest) / total};
}

int64_t Log2LogitWeight(float difference, const WeightScale& scale) {
  // The product of SPEC.md §4, above -64.
  return ToLog2Units(double{difference * scale.high});
}

int64_t Log2PlainWeight(uint64_t weight, int fraction_bits) {
  return ToLog2Units(LogOfWeight(weight, fraction_bits) / kLn2);
}

int64_t Log2Weight(const Token& token, const Survivors& survivors) {
  if (token.weight == 0) return 0;
  if (survivors.kind == InputKind::kWeights) {
    return Log2PlainWeight(token.weight, survivors.fraction_bits);
  }
  return Log2LogitWeight(token.value - survivors.reference,
                         MakeWeightScale(survivors.temperature, survivors.fraction_bits));
}

Int128 SumLog2Weights(const Survivors& survivors) {
  Int128 sum = 0;
  for (const Token& token : survivors.tokens) {
    sum += Int128{Log2Weight(token, survivors)} * token.weight;
  }
  return sum;
}

double MeanLogWeight(Int128 sum_log2_weights, uint64_t total_weight) {
  return ToDouble(sum_log2_weights) / static_cast<double>(total_weight) * kLog2Unit * kLn2;
}

double MeanLogWeight(const Survivors& survivors) {
  return MeanLogWeight(SumLog2Weights(survivors), survivors.TotalWeight());
}

double LogOfWeight(uint64_t weight, int fraction_bits) {
  return Log(std::ldexp(static_cast<double>(weight), -fraction_bits));
}

double Entropy(Int128 sum_log2_weights, uint64_t total_weight, int fraction_bits) {
  const double log_total = LogOfWeight(total_weight, fraction_bits);
  return std::max(log_total - MeanLogWeight(sum_log2_weights, total_weight), 0.0);
}

double Entropy(const Survivors& survivors) {
  return Entropy(SumLog2Weights(survivors), survivors.TotalWeight(), survivors.fraction_bits);
}

}  // namespace token_sampler
