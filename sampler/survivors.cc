#include "sampler/survivors.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sampler/elementary.h"
#include "sampler/key_sort.h"
#include "sampler/large_memory.h"
#include "sampler/paced.h"
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
  ForEachPaced(pace, tokens.size(), [&](size_t i) { total += tokens[i].weight; });
  return total;
}

void Survivors::Weigh(double at) {
  temperature = at;
  reference = tokens.front().value;
  ForEachPaced(pace, tokens.size(),
               [&](size_t i) { reference = std::max(reference, tokens[i].value); });
  if (kind == InputKind::kLogits) {
    const WeightScale scale = MakeWeightScale(at, fraction_bits);
    ForEachPaced(pace, tokens.size(), [&](size_t i) {
      tokens[i].weight = LogitWeight(tokens[i].value - reference, scale);
    });
  } else {
    const double scale = PlainWeightScale(reference, fraction_bits);
    ForEachPaced(pace, tokens.size(),
                 [&](size_t i) { tokens[i].weight = PlainWeight(tokens[i].value, scale); });
  }
}

Survivors SortTokens(InputKind kind, absl::Span<const float> values, Pace* pace) {
  Survivors survivors;
  survivors.kind = kind;
  survivors.pace = pace;
  survivors.fraction_bits = FractionBits(static_cast<int64_t>(values.size()));
  const float impossible = ImpossibleValue(kind);
  // Keys descend with the order; their complements ascend with it.
  LargeVector<uint64_t> keys;
  keys.reserve(values.size());
  ForEachPaced(pace, values.size(), [&](size_t i) {
    if (values[i] != impossible) keys.push_back(~OrderKey(values[i], static_cast<uint32_t>(i)));
  });
  {
    LargeVector<uint64_t> scratch;
    SortByKey<4>(
        pace, keys.data(), keys.size(), [](uint64_t key) { return key; }, scratch);
  }
  survivors.tokens.reserve(keys.size());
  ForEachPaced(pace, keys.size(), [&](size_t i) {
    const float value = FromOrderedBits(static_cast<uint32_t>(~keys[i] >> 32));
    survivors.tokens.push_back({TokenOfOrderKey(~keys[i]), value, 0});
  });
  survivors.Weigh(1.0);
  return survivors;
}

Survivors CopyOf(const Survivors& survivors) {
  Survivors copy = {.tokens = {},
                    .kind = survivors.kind,
                    .fraction_bits = survivors.fraction_bits,
                    .temperature = survivors.temperature,
                    .reference = survivors.reference,
                    .pace = survivors.pace};
  copy.tokens.reserve(survivors.tokens.size());
  InPieces(survivors.pace, survivors.tokens.size(), kPieceItems, [&](size_t begin, size_t end) {
    const Token* const tokens = survivors.tokens.data();
    copy.tokens.insert(copy.tokens.end(), tokens + begin, tokens + end);
  });
  return copy;
}

void SortById(Survivors& survivors) {
  LargeVector<Token> scratch;
  SortByKey(
      survivors.pace, survivors.tokens.data(), survivors.tokens.size(),
      [](const Token& token) { return token.id; }, scratch);
}

ProbabilityRange ProbabilityRangeOf(const Survivors& survivors) {
  uint64_t largest = 0;
  uint64_t smallest = std::numeric_limits<uint64_t>::max();
  ForEachPaced(survivors.pace, survivors.tokens.size(), [&](size_t i) {
    const uint64_t weight = survivors.tokens[i].weight;
    largest = std::max(largest, weight);
    if (weight > 0) smallest = std::min(smallest, weight);
  });
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
  const WeightScale scale = MakeWeightScale(survivors.temperature, survivors.fraction_bits);
  ForEachPaced(survivors.pace, survivors.tokens.size(), [&](size_t i) {
    const Token& token = survivors.tokens[i];
    if (token.weight == 0) return;
    const int64_t log = survivors.kind == InputKind::kWeights
                            ? Log2PlainWeight(token.weight, survivors.fraction_bits)
                            : Log2LogitWeight(token.value - survivors.reference, scale);
    sum += Int128{log} * token.weight;
  });
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
