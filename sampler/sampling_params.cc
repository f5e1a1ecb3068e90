#include "sampler/sampling_params.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sampler/philox.h"

namespace token_sampler {
namespace {

template <typename Value>
absl::Status OutOfRange(const ParamsLocation& location, absl::string_view field,
                        absl::string_view range, Value value) {
  const std::string row = location.row < 0 ? "" : absl::StrCat(" of row ", location.row);
  return absl::InvalidArgumentError(
      absl::StrCat(location.profile, ".", field, row, " must be ", range, ", got ", value));
}

// False for NaN.
bool InRange(double value, double low, double high) { return value >= low && value <= high; }

absl::Status CheckIds(const ParamsLocation& location, absl::string_view field,
                      const std::vector<uint32_t>& ids, int64_t vocab) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocab) continue;
    return OutOfRange(location, absl::StrCat(field, "[", i, "]"),
                      absl::StrCat("below the vocabulary of ", vocab), ids[i]);
  }
  return absl::OkStatus();
}

absl::Status CheckBias(const SamplingParams& params, int64_t vocab,
                       const ParamsLocation& location) {
  std::vector<uint32_t> ids;
  for (const TokenBias& bias : params.logit_bias) {
    if (!(bias.value < std::numeric_limits<float>::infinity())) {
      return OutOfRange(location, absl::StrCat("logit_bias of token ", bias.token_id),
                        "finite or -infinity", bias.value);
    }
    ids.push_back(bias.token_id);
  }
  if (absl::Status status = CheckIds(location, "logit_bias.token_ids", ids, vocab); !status.ok()) {
    return status;
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice == ids.end()) return absl::OkStatus();
  return OutOfRange(location, "logit_bias.token_ids", "without an id twice", *twice);
}

absl::Status CheckAdjustments(const SamplingParams& params, InputKind kind, int64_t vocab,
                              const ParamsLocation& location) {
  for (absl::Status status : {CheckIds(location, "allowed_ids", params.allowed_ids, vocab),
                              CheckIds(location, "banned_ids", params.banned_ids, vocab),
                              CheckIds(location, "stop_ids", params.stop_ids, vocab),
                              CheckBias(params, vocab, location)}) {
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < params.bad_words.size(); ++i) {
    const std::string field = absl::StrCat("bad_words[", i, "].token_ids");
    if (params.bad_words[i].empty()) return OutOfRange(location, field, "not empty", "none");
    if (absl::Status status = CheckIds(location, field, params.bad_words[i], vocab); !status.ok()) {
      return status;
    }
  }
  if (!InRange(params.repetition_penalty, 0.0, 1e6) || params.repetition_penalty == 0.0) {
    return OutOfRange(location, "repetition_penalty", "in (0, 1e6]", params.repetition_penalty);
  }
  if (!InRange(params.frequency_penalty, -1e6, 1e6)) {
    return OutOfRange(location, "frequency_penalty", "in [-1e6, 1e6]", params.frequency_penalty);
  }
  if (!InRange(params.presence_penalty, -1e6, 1e6)) {
    return OutOfRange(location, "presence_penalty", "in [-1e6, 1e6]", params.presence_penalty);
  }
  if (kind == InputKind::kLogits) return absl::OkStatus();
  constexpr absl::string_view kOff = "off with weights, which are no logits";
  if (!params.logit_bias.empty()) return OutOfRange(location, "logit_bias", kOff, "some");
  if (params.repetition_penalty != 1.0) {
    return OutOfRange(location, "repetition_penalty", kOff, params.repetition_penalty);
  }
  if (params.frequency_penalty != 0.0) {
    return OutOfRange(location, "frequency_penalty", kOff, params.frequency_penalty);
  }
  if (params.presence_penalty != 0.0) {
    return OutOfRange(location, "presence_penalty", kOff, params.presence_penalty);
  }
  return absl::OkStatus();
}

// A stage that is on must be in the order, and top-k and top-p in it once.
absl::Status CheckOrder(const SamplingParams& params, const ParamsLocation& location) {
  const StageOrder& order = params.stage_order;
  const bool joint = order.Contains(Stage::kTopKTopP);
  if (joint && (order.Contains(Stage::kTopK) || order.Contains(Stage::kTopP))) {
    return OutOfRange(location, "stage_order", "without TOP_K and TOP_P beside TOP_K_TOP_P",
                      "both");
  }
  const auto missing = [&](Stage stage) { return !order.Contains(stage); };
  struct {
    bool broken;
    absl::string_view field;
    absl::string_view stage;
  } const rules[] = {
      {params.temperature != 1.0 && missing(Stage::kTemperature), "temperature", "TEMPERATURE"},
      {params.min_p != 0.0 && missing(Stage::kMinP), "min_p", "MIN_P"},
      {params.top_k != 0 && !joint && missing(Stage::kTopK), "top_k", "TOP_K"},
      {params.top_p != 1.0 && !joint && missing(Stage::kTopP), "top_p", "TOP_P"},
      {params.epsilon_cutoff != 0.0 && missing(Stage::kEpsilon), "epsilon_cutoff", "EPSILON"},
      {params.p_less && missing(Stage::kPLess), "p_less", "P_LESS"},
      {params.xtc_probability != 0.0 && missing(Stage::kXtc), "xtc", "XTC"},
  };
  for (const auto& rule : rules) {
    if (!rule.broken) continue;
    return OutOfRange(
        location, "stage_order",
        absl::StrCat("one that names ", rule.stage, ", because ", rule.field, " is set"),
        "one without");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateParams(const SamplingParams& params, InputKind kind, int64_t vocab,
                            const ParamsLocation& location) {
  if (params.temperature != 0.0 && !InRange(params.temperature, 1e-6, 1e6)) {
    return OutOfRange(location, "temperature", "0 (greedy) or in [1e-6, 1e6]", params.temperature);
  }
  if (kind == InputKind::kWeights && params.temperature != 0.0 && params.temperature != 1.0) {
    return OutOfRange(location, "temperature", "0 or 1 with weights, to which no softmax applies",
                      params.temperature);
  }
  if (params.num_samples < 1 || params.num_samples > kMaxDraws) {
    return OutOfRange(location, "num_samples", absl::StrCat("in [1, ", kMaxDraws, "]"),
                      params.num_samples);
  }
  if (!params.replacement && int64_t{params.num_samples} > vocab) {
    return OutOfRange(location, "num_samples",
                      absl::StrCat("at most the ", vocab, " tokens of the row without replacement"),
                      params.num_samples);
  }
  if (!InRange(params.top_p, 0.0, 1.0)) {
    return OutOfRange(location, "top_p", "in [0, 1]", params.top_p);
  }
  if (!InRange(params.min_p, 0.0, 1.0)) {
    return OutOfRange(location, "min_p", "in [0, 1]", params.min_p);
  }
  if (!InRange(params.epsilon_cutoff, 0.0, 1.0) || params.epsilon_cutoff == 1.0) {
    return OutOfRange(location, "epsilon_cutoff", "in [0, 1)", params.epsilon_cutoff);
  }
  if (!InRange(params.xtc_probability, 0.0, 1.0)) {
    return OutOfRange(location, "xtc.probability", "in [0, 1]", params.xtc_probability);
  }
  if (!InRange(params.xtc_threshold, 0.0, 1.0)) {
    return OutOfRange(location, "xtc.threshold", "in [0, 1]", params.xtc_threshold);
  }
  if (params.min_tokens_to_keep < 1) {
    return OutOfRange(location, "min_tokens_to_keep", "at least 1", params.min_tokens_to_keep);
  }
  if (absl::Status status = CheckOrder(params, location); !status.ok()) return status;
  return CheckAdjustments(params, kind, vocab, location);
}

}  // namespace token_sampler
