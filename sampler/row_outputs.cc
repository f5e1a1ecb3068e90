#include "sampler/row_outputs.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "sampler/elementary.h"
#include "sampler/philox.h"
#include "sampler/weight.h"

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

// Null when the distribution leaves it out.
const Token* Find(uint32_t id, const std::vector<Token>& tokens) {
  const auto token = std::find_if(tokens.begin(), tokens.end(),
                                  [id](const Token& candidate) { return candidate.id == id; });
  return token == tokens.end() ? nullptr : &*token;
}

uint32_t Rank(const Token& token, RankMode mode, const std::vector<Token>& tokens) {
  const auto greater = [&](const Token& other) { return other.value > token.value; };
  const auto greater_equal = [&](const Token& other) { return other.value >= token.value; };
  return static_cast<uint32_t>(mode == RankMode::kGreater
                                   ? 1 + std::count_if(tokens.begin(), tokens.end(), greater)
                                   : std::count_if(tokens.begin(), tokens.end(), greater_equal));
}

// Exponential variables of rate 1, one per token and one more, from a draw's random bits.
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
  for (const uint32_t id : result.token_ids) {
    if (!outputs.logprobs && !outputs.ranks) break;
    const Token* token = Find(id, distribution.tokens);
    if (outputs.logprobs) {
      result.logprobs.push_back(token == nullptr ? -kInfinity : logprobs.Of(*token));
    }
    if (outputs.ranks) {
      result.ranks.push_back(
          token == nullptr ? 0 : Rank(*token, outputs.rank_mode, distribution.tokens));
    }
  }
  const size_t count = std::min<size_t>(outputs.top_logprobs, distribution.tokens.size());
  for (size_t i = 0; i < count; ++i) {
    result.top_token_ids.push_back(distribution.tokens[i].id);
    result.top_logprobs.push_back(logprobs.Of(distribution.tokens[i]));
  }
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
  std::vector<Token> tokens = kept.tokens;
  std::sort(tokens.begin(), tokens.end(),
            [](const Token& a, const Token& b) { return a.id < b.id; });
  for (const Token& token : tokens) {
    result.kept_token_ids.push_back(token.id);
    result.kept_logprobs.push_back(logprobs.Of(token));
  }
}

void WriteWeights(const Survivors& kept, bool greedy, RowResult& result) {
  result.greedy = greedy;
  if (greedy) {
    result.weighed_ids = {kept.tokens.front().id};
    result.weights = {1};
    return;
  }
  std::vector<Token> tokens = kept.tokens;
  std::sort(tokens.begin(), tokens.end(),
            [](const Token& a, const Token& b) { return a.id < b.id; });
  for (const Token& token : tokens) {
    if (token.weight == 0) continue;
    result.weighed_ids.push_back(token.id);
    result.weights.push_back(token.weight);
  }
}

void AppendGumbelSoftmax(const RowInput& row, uint32_t index, uint32_t token_id,
                         const std::vector<Token>& tokens, RowResult& result) {
  uint64_t total = 0;
  for (const Token& token : tokens) total += token.weight;
  // The drawn token won a race of exponential variables with the tokens' weights as rates; the
  // others arrived an exponential time of their rate after it. Gumbel noise is minus the logarithm
  // of such times.
  const Exponentials exponentials(row.key, index);
  const double winner = exponentials.OfMinimum() / static_cast<double>(total);
  const int fraction_bits = FractionBits(row.vocab);
  const WeightScale scale = MakeWeightScale(row.outputs->gumbel_softmax, fraction_bits);
  std::vector<uint64_t> weights(static_cast<size_t>(row.vocab));
  uint64_t sum = 0;
  for (const Token& token : tokens) {
    if (token.weight == 0) continue;
    float difference = 0.0f;
    if (token.id != token_id) {
      const double behind =
          exponentials.OfToken(token.id) / static_cast<double>(token.weight) / winner;
      difference = static_cast<float>(-Log(1.0 + behind));
    }
    weights[token.id] = LogitWeight(difference, scale);
    sum += weights[token.id];
  }
  for (const uint64_t weight : weights) {
    result.gumbel_softmax.push_back(
        static_cast<float>(static_cast<double>(weight) / static_cast<double>(sum)));
  }
}

}  // namespace token_sampler
