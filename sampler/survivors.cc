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

}  // namespace

uint64_t Survivors::TotalWeight() const {
  uint64_t total = 0;
  for (const Token& token : tokens) total += token.weight;
  return total;
}

void Survivors::Weigh(double at) {
  temperature = at;
  reference = tokens.front().value;
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
  const float impossible =
      kind == InputKind::kLogits ? -std::numeric_limits<float>::infinity() : 0.0f;
  for (uint32_t id = 0; id < values.size(); ++id) {
    if (values[id] != impossible) survivors.tokens.push_back({id, values[id], 0});
  }
  std::sort(survivors.tokens.begin(), survivors.tokens.end(), [](const Token& a, const Token& b) {
    return OrderKey(a.value, a.id) > OrderKey(b.value, b.id);
  });
  survivors.Weigh(1.0);
  return survivors;
}

int64_t Log2Weight(const Token& token, const Survivors& survivors) {
  if (token.weight == 0) return 0;
  double octaves;
  if (survivors.kind == InputKind::kLogits) {
    // The product of SPEC.md §4, above -64.
    const WeightScale scale = MakeWeightScale(survivors.temperature, survivors.fraction_bits);
    octaves = double{(token.value - survivors.reference) * scale.high};
  } else {
    octaves = LogOfWeight(token.weight, survivors.fraction_bits) / kLn2;
  }
  return static_cast<int64_t>(std::rint(octaves / kLog2Unit));
}

Int128 SumLog2Weights(const Survivors& survivors) {
  Int128 sum = 0;
  for (const Token& token : survivors.tokens) {
    sum += Int128{Log2Weight(token, survivors)} * token.weight;
  }
  return sum;
}

double MeanLogWeight(const Survivors& survivors) {
  const double mean =
      ToDouble(SumLog2Weights(survivors)) / static_cast<double>(survivors.TotalWeight());
  return mean * kLog2Unit * kLn2;
}

double LogOfWeight(uint64_t weight, int fraction_bits) {
  return Log(std::ldexp(static_cast<double>(weight), -fraction_bits));
}

double Entropy(const Survivors& survivors) {
  const double log_total = LogOfWeight(survivors.TotalWeight(), survivors.fraction_bits);
  return std::max(log_total - MeanLogWeight(survivors), 0.0);
}

}  // namespace token_sampler
