#include "sampler/reference/survivors.h"

#include <algorithm>
#include <limits>

#include "sampler/arithmetic/token_order.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/rows/key_sort.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"

namespace token_sampler {
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
  // The first token of the order has the greatest key, so sort by the complement. Ids ascend
  // already, and need no passes over their four bytes.
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

double MeanLogWeight(const Survivors& survivors) {
  return MeanLogWeight(SumLog2Weights(survivors), survivors.TotalWeight());
}

double Entropy(const Survivors& survivors) {
  return Entropy(SumLog2Weights(survivors), survivors.TotalWeight(), survivors.fraction_bits);
}

}  // namespace token_sampler
