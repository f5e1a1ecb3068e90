#include "sampler/sampling_params.h"

#include <string>

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

// False for NaN.
bool InRange(double value, double low, double high) { return value >= low && value <= high; }

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
  return CheckOrder(params, location);
}

}  // namespace token_sampler
