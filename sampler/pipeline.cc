#include "sampler/pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sampler/adjustments.h"
#include "sampler/logarithm.h"
#include "sampler/token_order.h"
#include "sampler/weight.h"
#include "sampler/wide_integer.h"

namespace token_sampler {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Token {
  uint32_t id;
  float value;      // logit or plain weight
  uint64_t weight;  // its mass
};

bool Precedes(const Token& a, const Token& b) {
  return OrderKey(a.value, a.id) > OrderKey(b.value, b.id);
}

uint64_t TotalWeight(const std::vector<Token>& tokens) {
  uint64_t total = 0;
  for (const Token& token : tokens) total += token.weight;
  return total;
}

void Fail(RowResult& result, RowCode code, std::string message) {
  result.Clear();
  result.code = code;
  result.message = std::move(message);
}

// SPEC §2: checks values, which are float32 with -0 made +0. False when the row failed.
bool CheckValues(const RowInput& row, const std::vector<float>& values, RowResult& result) {
  const bool logits = row.kind == InputKind::kLogits;
  const char* noun = logits ? "logit" : "weight";
  const char* rule = logits ? "finite or -infinity" : "finite and >= 0";
  bool drawable = false;
  for (size_t id = 0; id < values.size(); ++id) {
    const float value = values[id];
    RowCode code = RowCode::kOk;
    if (std::isnan(value)) {
      code = RowCode::kNan;
    } else if (value == kInfinity || (value == -kInfinity && !logits)) {
      code = RowCode::kInfinite;
    } else if (value < 0 && !logits) {
      code = RowCode::kNegative;
    }
    if (code != RowCode::kOk) {
      Fail(result, code, absl::StrCat(noun, " of token ", id, " must be ", rule, ", got ", value));
      return false;
    }
    drawable = drawable || (logits ? value != -kInfinity : value > 0);
  }
  if (drawable) return true;
  if (logits) {
    Fail(result, RowCode::kAllMasked, "every logit is -infinity: no token can be drawn");
  } else {
    Fail(result, RowCode::kZeroSum, "every weight is 0: the sum must be above 0");
  }
  return false;
}

std::vector<float> ReadValues(const RowInput& row) {
  std::vector<float> values;
  for (int64_t id = 0; id < row.vocab; ++id) {
    values.push_back(LoadAsFloat(row.values, row.dtype, id) + 0.0f);
  }
  return values;
}

// Adjusts checked values, and checks them again. False when the row failed.
bool Adjust(const RowInput& row, std::vector<float>& values, RowResult& result) {
  if (std::string error = CheckHistory(row); !error.empty()) {
    Fail(result, RowCode::kInvalidInput, std::move(error));
    return false;
  }
  if (!HasAdjustments(row)) return true;
  AdjustValues(row, absl::MakeSpan(values));
  if (CheckValues(row, values, result)) return true;
  result.message = absl::StrCat("after adjustments, ", result.message);
  return false;
}

// Weighs tokens, which are in the total order, at `temperature` (> 0): SPEC §4.
void Weigh(const RowInput& row, double temperature, std::vector<Token>& tokens) {
  const int fraction_bits = FractionBits(row.vocab);
  const float largest = tokens.front().value;
  if (row.kind == InputKind::kLogits) {
    const WeightScale scale = MakeWeightScale(temperature, fraction_bits);
    for (Token& token : tokens) token.weight = LogitWeight(token.value - largest, scale);
  } else {
    const double scale = PlainWeightScale(largest, fraction_bits);
    for (Token& token : tokens) token.weight = PlainWeight(token.value, scale);
  }
}

// SPEC §3: the tokens that have a probability, in the total order, weighed at temperature 1.
std::vector<Token> SortTokens(const RowInput& row, const std::vector<float>& values) {
  const float impossible = row.kind == InputKind::kLogits ? -kInfinity : 0.0f;
  std::vector<Token> tokens;
  for (uint32_t id = 0; id < values.size(); ++id) {
    if (values[id] != impossible) tokens.push_back({id, values[id], 0});
  }
  std::sort(tokens.begin(), tokens.end(), Precedes);
  Weigh(row, 1.0, tokens);
  return tokens;
}

// SPEC §5, the filters. `tokens` are in the total order; each filter says how many of the first to
// keep, and at least one always stays.

// The longest prefix of weights that reach `threshold`.
size_t PrefixAtLeast(uint64_t threshold, const std::vector<Token>& tokens) {
  size_t kept = 0;
  while (kept < tokens.size() && tokens[kept].weight >= threshold) ++kept;
  return kept;
}

size_t PrefixOfTopK(uint32_t top_k, TiePolicy ties, const std::vector<Token>& tokens) {
  if (top_k == 0 || top_k >= tokens.size()) return tokens.size();
  size_t kept = top_k;
  if (ties == TiePolicy::kKeepAll) {
    while (kept < tokens.size() && tokens[kept].value == tokens[top_k - 1].value) ++kept;
  }
  return kept;
}

size_t PrefixOfTopP(double top_p, const std::vector<Token>& tokens) {
  if (top_p >= 1.0) return tokens.size();
  const uint64_t threshold = CeilFraction(top_p, TotalWeight(tokens));
  size_t kept = 0;
  for (uint64_t mass = 0; mass < threshold; ++kept) mass += tokens[kept].weight;
  return kept;
}

size_t PrefixOfPLess(const std::vector<Token>& tokens) {
  const uint64_t total = TotalWeight(tokens);
  Uint128 squares = 0;
  for (const Token& token : tokens) squares += Uint128{token.weight} * token.weight;
  size_t kept = 0;
  while (kept < tokens.size() && Uint128{tokens[kept].weight} * total >= squares) ++kept;
  return kept;
}

// How many of the first tokens XTC removes.
size_t TopChoices(const RowInput& row, const std::vector<Token>& tokens) {
  const SamplingParams& params = *row.params;
  constexpr uint64_t kCoinSides = uint64_t{1} << 62;
  const uint64_t coin = ScaleUniform(UniformBits(row.key, RandomDomain::kXtcCoin, 0), kCoinSides);
  if (coin >= CeilFraction(params.xtc_probability, kCoinSides)) return 0;
  const size_t choices =
      PrefixAtLeast(CeilFraction(params.xtc_threshold, TotalWeight(tokens)), tokens);
  if (choices < 2 || tokens.size() - (choices - 1) < params.min_tokens_to_keep) return 0;
  return choices - 1;
}

// Applies one filter.
void Filter(const RowInput& row, Stage stage, std::vector<Token>& tokens) {
  const SamplingParams& params = *row.params;
  size_t kept = tokens.size();
  switch (stage) {
    case Stage::kTemperature:
      return;
    case Stage::kMinP:
      kept = PrefixAtLeast(CeilFraction(params.min_p, tokens.front().weight), tokens);
      break;
    case Stage::kTopK:
      kept = PrefixOfTopK(params.top_k, params.top_k_ties, tokens);
      break;
    case Stage::kTopP:
      kept = PrefixOfTopP(params.top_p, tokens);
      break;
    case Stage::kTopKTopP:
      kept = std::min(PrefixOfTopK(params.top_k, params.top_k_ties, tokens),
                      PrefixOfTopP(params.top_p, tokens));
      break;
    case Stage::kEpsilon:
      kept = PrefixAtLeast(CeilFraction(params.epsilon_cutoff, TotalWeight(tokens)), tokens);
      break;
    case Stage::kPLess:
      if (params.p_less) kept = PrefixOfPLess(tokens);
      break;
    case Stage::kXtc:
      tokens.erase(tokens.begin(),
                   tokens.begin() + static_cast<std::ptrdiff_t>(TopChoices(row, tokens)));
      return;
  }
  kept = std::max<size_t>(kept, params.min_tokens_to_keep);
  if (kept < tokens.size()) tokens.resize(kept);
}

// SPEC §6: the draws, from tokens in any order.
bool Draw(const RowInput& row, std::vector<Token> tokens, RowResult& result) {
  const SamplingParams& params = *row.params;
  const auto drawable = std::count_if(tokens.begin(), tokens.end(),
                                      [](const Token& token) { return token.weight > 0; });
  if (!params.replacement && params.num_samples > drawable) {
    Fail(result, RowCode::kTooFewTokens,
         absl::StrCat("num_samples is ", params.num_samples, " without replacement, but only ",
                      drawable, " tokens are left to draw from"));
    return false;
  }
  std::sort(tokens.begin(), tokens.end(),
            [](const Token& a, const Token& b) { return a.id < b.id; });
  uint64_t total = TotalWeight(tokens);
  for (uint32_t index = 0; index < params.num_samples; ++index) {
    const uint64_t target = ScaleUniform(UniformBits(row.key, RandomDomain::kToken, index), total);
    uint64_t mass = 0;
    for (Token& token : tokens) {
      mass += token.weight;
      if (mass <= target) continue;
      result.token_ids.push_back(token.id);
      if (!params.replacement) {
        total -= token.weight;
        token.weight = 0;
      }
      break;
    }
  }
  return true;
}

// Temperature 0: the first tokens of the order, no random number.
bool TakeGreedy(const SamplingParams& params, const std::vector<Token>& tokens, RowResult& result) {
  if (!params.replacement && params.num_samples > tokens.size()) {
    Fail(result, RowCode::kTooFewTokens,
         absl::StrCat("num_samples is ", params.num_samples, " without replacement, but only ",
                      tokens.size(), " tokens are left to draw from"));
    return false;
  }
  for (uint32_t index = 0; index < params.num_samples; ++index) {
    result.token_ids.push_back(tokens[params.replacement ? 0 : index].id);
  }
  return true;
}

// SPEC §7: log-probabilities over `tokens`, which are in the total order, at `temperature`.
class Distribution {
 public:
  Distribution(const RowInput& row, const std::vector<Token>& tokens, double temperature)
      : kind_(row.kind),
        tokens_(tokens),
        temperature_(temperature),
        fraction_bits_(FractionBits(row.vocab)),
        log_total_(LogWeight(TotalWeight(tokens))) {}

  float Logprob(const Token& token) const {
    if (kind_ == InputKind::kWeights) {
      if (token.weight == 0) return -kInfinity;
      return static_cast<float>(LogWeight(token.weight) - log_total_);
    }
    const double difference = double{token.value} - double{tokens_.front().value};
    return static_cast<float>(difference / temperature_ - log_total_);
  }

  // Null when the distribution leaves it out.
  const Token* Find(uint32_t id) const {
    const auto token = std::find_if(tokens_.begin(), tokens_.end(),
                                    [id](const Token& candidate) { return candidate.id == id; });
    return token == tokens_.end() ? nullptr : &*token;
  }

  uint32_t Rank(const Token& token, RankMode mode) const {
    return static_cast<uint32_t>(
        mode == RankMode::kGreater
            ? 1 + std::count_if(tokens_.begin(), tokens_.end(),
                                [&](const Token& other) { return other.value > token.value; })
            : std::count_if(tokens_.begin(), tokens_.end(),
                            [&](const Token& other) { return other.value >= token.value; }));
  }

 private:
  double LogWeight(uint64_t weight) const {
    return Log(std::ldexp(static_cast<double>(weight), -fraction_bits_));
  }

  InputKind kind_;
  const std::vector<Token>& tokens_;
  double temperature_;
  int fraction_bits_;
  double log_total_;
};

// What OutputOptions asks for of the distribution that logprob_mode names.
void WriteOutputs(const RowInput& row, const std::vector<Token>& tokens, double temperature,
                  RowResult& result) {
  const OutputOptions& outputs = *row.outputs;
  const Distribution distribution(row, tokens, temperature);
  for (const uint32_t id : result.token_ids) {
    if (!outputs.logprobs && !outputs.ranks) break;
    const Token* token = distribution.Find(id);
    if (outputs.logprobs) {
      result.logprobs.push_back(token == nullptr ? -kInfinity : distribution.Logprob(*token));
    }
    if (outputs.ranks) {
      result.ranks.push_back(token == nullptr ? 0 : distribution.Rank(*token, outputs.rank_mode));
    }
  }
  const size_t count = std::min<size_t>(outputs.top_logprobs, tokens.size());
  for (size_t i = 0; i < count; ++i) {
    result.top_token_ids.push_back(tokens[i].id);
    result.top_logprobs.push_back(distribution.Logprob(tokens[i]));
  }
  if (outputs.extremes) {
    uint64_t largest = 0;
    uint64_t smallest = std::numeric_limits<uint64_t>::max();
    for (const Token& token : tokens) {
      largest = std::max(largest, token.weight);
      if (token.weight > 0) smallest = std::min(smallest, token.weight);
    }
    const auto total = static_cast<double>(TotalWeight(tokens));
    result.max_probability = static_cast<double>(largest) / total;
    result.min_probability = static_cast<double>(smallest) / total;
  }
}

// What OutputOptions asks for of the tokens that the filters kept.
void WriteKeptSet(const RowInput& row, std::vector<Token> kept, double temperature,
                  RowResult& result) {
  if (row.outputs->kept_count) result.kept_count = static_cast<uint32_t>(kept.size());
  if (!row.outputs->kept_set) return;
  const std::vector<Token> ordered = kept;
  const Distribution distribution(row, ordered, temperature);
  std::sort(kept.begin(), kept.end(), [](const Token& a, const Token& b) { return a.id < b.id; });
  for (const Token& token : kept) {
    result.kept_token_ids.push_back(token.id);
    result.kept_logprobs.push_back(distribution.Logprob(token));
  }
}

}  // namespace

void SampleRowByPipeline(const RowInput& row, RowResult& result) {
  result.Clear();
  const SamplingParams& params = *row.params;
  std::vector<float> values = ReadValues(row);
  if (!CheckValues(row, values, result)) return;
  const bool raw = row.outputs != nullptr && row.outputs->logprob_mode == LogprobMode::kRaw;
  const std::vector<Token> received = raw ? SortTokens(row, values) : std::vector<Token>();
  if (!Adjust(row, values, result)) return;

  std::vector<Token> kept = SortTokens(row, values);
  double temperature = 1.0;
  bool greedy = false;
  for (const Stage stage : params.stage_order) {
    if (stage != Stage::kTemperature) {
      Filter(row, stage, kept);
      continue;
    }
    greedy = params.temperature == 0.0;
    if (greedy) break;
    temperature = params.temperature;
    Weigh(row, temperature, kept);
  }
  if (!(greedy ? TakeGreedy(params, kept, result) : Draw(row, kept, result))) return;

  if (row.outputs == nullptr) return;
  if (greedy) kept.resize(1);
  if (raw) {
    WriteOutputs(row, received, 1.0, result);
  } else {
    WriteOutputs(row, kept, temperature, result);
  }
  WriteKeptSet(row, std::move(kept), temperature, result);
}

}  // namespace token_sampler
