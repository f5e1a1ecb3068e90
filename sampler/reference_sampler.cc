#include "sampler/reference_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
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

// SPEC §2: the values as float32, -0 made +0. False when the row failed.
bool ReadRow(const RowInput& row, std::vector<float>& values, RowResult& result) {
  const bool logits = row.kind == InputKind::kLogits;
  const char* noun = logits ? "logit" : "weight";
  const char* rule = logits ? "finite or -infinity" : "finite and >= 0";
  bool drawable = false;
  for (int64_t id = 0; id < row.vocab; ++id) {
    const float value = LoadAsFloat(row.values, row.dtype, id) + 0.0f;
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
    values.push_back(value);
  }
  if (drawable) return true;
  if (logits) {
    Fail(result, RowCode::kAllMasked, "every logit is -infinity: no token can be drawn");
  } else {
    Fail(result, RowCode::kZeroSum, "every weight is 0: the sum must be above 0");
  }
  return false;
}

// SPEC §4: the tokens that have a probability, with their weights at `temperature` (> 0), in the
// total order.
std::vector<Token> Weigh(const std::vector<float>& values, InputKind kind, double temperature) {
  const int fraction_bits = FractionBits(static_cast<int64_t>(values.size()));
  const float largest = *std::max_element(values.begin(), values.end());
  const bool logits = kind == InputKind::kLogits;
  const WeightScale scale = MakeWeightScale(temperature, fraction_bits);
  const double plain_scale = logits ? 0.0 : PlainWeightScale(largest, fraction_bits);
  std::vector<Token> tokens;
  for (uint32_t id = 0; id < values.size(); ++id) {
    const float value = values[id];
    if (logits ? value == -kInfinity : value == 0) continue;
    tokens.push_back(
        {id, value,
         logits ? LogitWeight(value - largest, scale) : PlainWeight(value, plain_scale)});
  }
  std::sort(tokens.begin(), tokens.end(), Precedes);
  return tokens;
}

// SPEC §5. Each filter keeps a prefix of the order, never an empty one.
void KeepMinP(double min_p, std::vector<Token>& tokens) {
  const uint64_t threshold = CeilFraction(min_p, tokens.front().weight);
  size_t kept = 1;
  while (kept < tokens.size() && tokens[kept].weight >= threshold) ++kept;
  tokens.resize(kept);
}

void KeepTopK(uint32_t top_k, std::vector<Token>& tokens) {
  if (top_k > 0 && top_k < tokens.size()) tokens.resize(top_k);
}

void KeepTopP(double top_p, std::vector<Token>& tokens) {
  if (top_p >= 1.0) return;
  const uint64_t threshold = CeilFraction(top_p, TotalWeight(tokens));
  size_t kept = 1;
  uint64_t mass = tokens.front().weight;
  while (mass < threshold) mass += tokens[kept++].weight;
  tokens.resize(kept);
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

// SPEC §7: log-probabilities of `tokens` (in the total order) at `temperature`.
void WriteLogprobs(const RowInput& row, const std::vector<Token>& tokens, double temperature,
                   RowResult& result) {
  const int fraction_bits = FractionBits(row.vocab);
  const double log_total =
      Log(std::ldexp(static_cast<double>(TotalWeight(tokens)), -fraction_bits));
  const auto logprob = [&](const Token& token) {
    if (row.kind == InputKind::kWeights) {
      if (token.weight == 0) return -kInfinity;
      const auto weight = std::ldexp(static_cast<double>(token.weight), -fraction_bits);
      return static_cast<float>(Log(weight) - log_total);
    }
    const double difference = double{token.value} - double{tokens.front().value};
    return static_cast<float>(difference / temperature - log_total);
  };
  if (row.outputs->logprobs) {
    for (const uint32_t id : result.token_ids) {
      const auto token = std::find_if(tokens.begin(), tokens.end(),
                                      [id](const Token& candidate) { return candidate.id == id; });
      result.logprobs.push_back(token == tokens.end() ? -kInfinity : logprob(*token));
    }
  }
  const size_t count = std::min<size_t>(row.outputs->top_logprobs, tokens.size());
  for (size_t i = 0; i < count; ++i) {
    result.top_token_ids.push_back(tokens[i].id);
    result.top_logprobs.push_back(logprob(tokens[i]));
  }
}

void SampleRow(const RowInput& row, RowResult& result) {
  result.Clear();
  const SamplingParams& params = *row.params;
  std::vector<float> values;
  if (!ReadRow(row, values, result)) return;

  const bool greedy = params.temperature == 0.0;
  std::vector<Token> kept = Weigh(values, row.kind, greedy ? 1.0 : params.temperature);
  if (greedy) {
    if (!TakeGreedy(params, kept, result)) return;
    kept.resize(1);
  } else {
    KeepMinP(params.min_p, kept);
    KeepTopK(params.top_k, kept);
    KeepTopP(params.top_p, kept);
    if (!Draw(row, kept, result)) return;
  }

  if (row.outputs == nullptr) return;
  if (row.outputs->logprob_mode == LogprobMode::kRaw) {
    WriteLogprobs(row, Weigh(values, row.kind, 1.0), 1.0, result);
  } else {
    WriteLogprobs(row, kept, greedy ? 1.0 : params.temperature, result);
  }
}

class ReferenceSampler final : public Sampler {
 public:
  absl::string_view name() const override { return "reference"; }
  std::string device() const override { return "one thread, scalar"; }
  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    for (size_t i = 0; i < rows.size(); ++i) SampleRow(rows[i], results[i]);
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Sampler> CreateReferenceSampler() { return std::make_unique<ReferenceSampler>(); }

}  // namespace token_sampler
