#include "sampler/reference/row_outputs.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "sampler/arithmetic/elementary.h"
#include "sampler/arithmetic/philox.h"
#include "sampler/arithmetic/weight.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/paced.h"

namespace token_sampler {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Logprobs {
 public:
  explicit Logprobs(const Survivors& survivors)
      : survivors_(survivors),
        log_total_(LogOfWeight(survivors.TotalWeight(), survivors.fraction_bits)) {}

  float Of(const Token& token) const {
    if (survivors_.kind == InputKind::kWeights) {
      if (token.weight == 0) return -kInfinity;
      return static_cast<float>(LogOfWeight(token.weight, survivors_.fraction_bits) - log_total_);
    }
    const double difference = double{token.value} - double{survivors_.reference};
    return static_cast<float>(difference / survivors_.temperature - log_total_);
  }

 private:
  const Survivors& survivors_;
  double log_total_;
};

// Returns the token with this id; null if it is not in the distribution.
const Token* Find(uint32_t id, const Survivors& distribution) {
  const LargeVector<Token>& tokens = distribution.tokens;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].id == id) return &tokens[i];
    if (i % kPieceItems == kPieceItems - 1) Ask(distribution.pace);
  }
  return nullptr;
}

uint32_t Rank(const Token& token, RankMode mode, const Survivors& distribution) {
  const LargeVector<Token>& tokens = distribution.tokens;
  uint32_t rank = mode == RankMode::kGreater ? 1 : 0;
  ForEachPaced(distribution.pace, tokens.size(), [&](size_t i) {
    const bool counts =
        mode == RankMode::kGreater ? tokens[i].value > token.value : tokens[i].value >= token.value;
    rank += counts ? 1 : 0;
  });
  return rank;
}

// Exponential variables of rate 1 from a draw's random bits: one per token, and one for the
// minimum.
class Exponentials {
 public:
  Exponentials(const RowKey& key, uint32_t draw)
      : bits_(UniformBits(key, RandomDomain::kGumbelSoftmax, draw)) {}

  double OfToken(uint32_t id) const { return Of(id / 2, id % 2); }
  double OfMinimum() const { return Of(std::numeric_limits<uint32_t>::max(), 0); }

 private:
  double Of(uint32_t block, uint32_t half) const {
    const auto word = [this](int index) { return static_cast<uint32_t>(bits_ >> (32 * index)); };
    const PhiloxBlock random = Philox4x32({{block, word(2), word(3), 0}}, word(0), word(1));
    const uint32_t* words = random.word + (half == 0 ? 0 : 2);
    const uint64_t uniform = (uint64_t{words[1]} << 32) | words[0];
    return -Log((static_cast<double>(uniform >> 11) + 0.5) * 0x1p-53);
  }

  Uint128 bits_;
};

}  // namespace

void WriteDistribution(const RowInput& row, const Survivors& distribution, RowResult& result) {
  const OutputOptions& outputs = *row.outputs;
  const Logprobs logprobs(distribution);
  if (outputs.logprobs) result.logprobs.reserve(result.token_ids.size());
  if (outputs.ranks) result.ranks.reserve(result.token_ids.size());
  for (const uint32_t id : result.token_ids) {
    if (!outputs.logprobs && !outputs.ranks) break;
    Ask(row.pace);
    const Token* token = Find(id, distribution);
    if (outputs.logprobs) {
      result.logprobs.push_back(token == nullptr ? -kInfinity : logprobs.Of(*token));
    }
    if (outputs.ranks) {
      result.ranks.push_back(token == nullptr ? 0 : Rank(*token, outputs.rank_mode, distribution));
    }
  }
  const size_t count = std::min<size_t>(outputs.top_logprobs, distribution.tokens.size());
  result.top_token_ids.reserve(count);
  result.top_logprobs.reserve(count);
  ForEachPaced(row.pace, count, [&](size_t i) {
    result.top_token_ids.push_back(distribution.tokens[i].id);
    result.top_logprobs.push_back(logprobs.Of(distribution.tokens[i]));
  });
  if (outputs.extremes) {
    const ProbabilityRange range = ProbabilityRangeOf(distribution);
    result.max_probability = range.max;
    result.min_probability = range.min;
  }
  if (outputs.entropy) result.entropy = Entropy(distribution);
}

void WriteKeptSet(const RowInput& row, const Survivors& kept, RowResult& result) {
  if (row.outputs->kept_count) result.kept_count = static_cast<uint32_t>(kept.tokens.size());
  if (!row.outputs->kept_set) return;
  const Logprobs logprobs(kept);
  Survivors by_id = CopyOf(kept);
  SortById(by_id);
  result.kept_token_ids.reserve(by_id.tokens.size());
  result.kept_logprobs.reserve(by_id.tokens.size());
  ForEachPaced(row.pace, by_id.tokens.size(), [&](size_t i) {
    result.kept_token_ids.push_back(by_id.tokens[i].id);
    result.kept_logprobs.push_back(logprobs.Of(by_id.tokens[i]));
  });
}

void WriteWeights(const Survivors& kept, bool greedy, RowResult& result) {
  result.greedy = greedy;
  if (greedy) {
    result.weighed_ids = {kept.tokens.front().id};
    result.weights = {1};
    return;
  }
  Survivors by_id = CopyOf(kept);
  SortById(by_id);
  result.weighed_ids.reserve(by_id.tokens.size());
  result.weights.reserve(by_id.tokens.size());
  ForEachPaced(kept.pace, by_id.tokens.size(), [&](size_t i) {
    const Token& token = by_id.tokens[i];
    if (token.weight == 0) return;
    result.weighed_ids.push_back(token.id);
    result.weights.push_back(token.weight);
  });
}

void AppendGumbelSoftmax(const RowInput& row, uint32_t index, uint32_t token_id,
                         const LargeVector<Token>& tokens, RowResult& result) {
  uint64_t total = 0;
  ForEachPaced(row.pace, tokens.size(), [&](size_t i) { total += tokens[i].weight; });
  // The drawn token arrived first in a race of exponential variables whose rates are the tokens'
  // weights. Every other token arrived later by an exponential time of its own rate. Gumbel noise
  // is minus the logarithm of such arrival times.
  const Exponentials exponentials(row.key, index);
  const double winner = exponentials.OfMinimum() / static_cast<double>(total);
  const int fraction_bits = FractionBits(row.vocab);
  const WeightScale scale = MakeWeightScale(row.outputs->gumbel_softmax, fraction_bits);
  LargeVector<uint64_t> weights;
  ResizePaced(row.pace, static_cast<size_t>(row.vocab), weights);
  uint64_t sum = 0;
  const auto weigh = [&](const Token& token) {
    if (token.weight == 0) return;
    float difference = 0.0f;
    if (token.id != token_id) {
      const double behind =
          exponentials.OfToken(token.id) / static_cast<double>(token.weight) / winner;
      difference = static_cast<float>(-Log(1.0 + behind));
    }
    weights[token.id] = LogitWeight(difference, scale);
    sum += weights[token.id];
  };
  // Each token takes some 100 ns.
  InPieces(row.pace, tokens.size(), kPieceItems / 4, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) weigh(tokens[i]);
  });
  result.gumbel_softmax.reserve(weights.size() * row.params->num_samples);
  ForEachPaced(row.pace, weights.size(), [&](size_t id) {
    result.gumbel_softmax.push_back(
        static_cast<float>(static_cast<double>(weights[id]) / static_cast<double>(sum)));
  });
}

}  // namespace token_sampler
