#include "sampler/params/sampling_params.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "sampler/params/stage_table.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

// Returns the error for a field that does not do what it `must`.
absl::Status Refused(const ParamsLocation& location, absl::string_view field,
                     absl::string_view must) {
  const std::string row = location.row < 0 ? "" : absl::StrCat(" of row ", location.row);
  return absl::InvalidArgumentError(
      absl::StrCat(location.profile, ".", field, row, " must ", must));
}

template <typename Value>
absl::Status OutOfRange(const ParamsLocation& location, absl::string_view field,
                        absl::string_view range, const Value& value) {
  return Refused(location, field, absl::StrCat("be ", range, ", got ", value));
}

// Writes integers without a decimal point or exponent, as the caller sent them.
std::string NumberText(double value) {
  constexpr double kExact = 0x1p53;
  if (value == std::floor(value) && std::abs(value) < kExact) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  return absl::StrCat(value);
}

absl::Status CheckScalars(const SamplingParams& params, InputKind kind,
                          const ParamsLocation& location) {
  static const SamplingParams& defaults = *new SamplingParams();
  for (const ScalarParam& scalar : kScalarParams) {
    if (!scalar.is_there(params)) continue;
    const double value = scalar.get(params);
    if (!scalar.range.Contains(value)) {
      return OutOfRange(location, scalar.name, scalar.range.ToString(), NumberText(value));
    }
    if (scalar.logits_only && kind == InputKind::kWeights && value != scalar.get(defaults)) {
      return OutOfRange(location, scalar.name, "off with weights, which are not logits",
                        NumberText(value));
    }
  }
  return absl::OkStatus();
}

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
  RETURN_IF_ERROR(CheckIds(location, "logit_bias.token_ids", ids, vocab));
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice == ids.end()) return absl::OkStatus();
  return Refused(location, "logit_bias.token_ids",
                 absl::StrCat("not name token ", *twice, " twice"));
}

absl::Status CheckDry(const Dry& dry, int64_t vocab, const ParamsLocation& location) {
  if (dry.breakers.size() > kMaxDryBreakers) {
    return OutOfRange(location, "dry.breakers", absl::StrCat("at most ", kMaxDryBreakers),
                      dry.breakers.size());
  }
  for (size_t i = 0; i < dry.breakers.size(); ++i) {
    const std::string field = absl::StrCat("dry.breakers[", i, "].token_ids");
    const size_t size = dry.breakers[i].size();
    if (size < 1 || size > kMaxDryBreakerTokens) {
      return OutOfRange(location, field, absl::StrCat("of 1 to ", kMaxDryBreakerTokens, " tokens"),
                        size);
    }
    RETURN_IF_ERROR(CheckIds(location, field, dry.breakers[i], vocab));
  }
  return absl::OkStatus();
}

absl::Status CheckAdjustments(const SamplingParams& params, InputKind kind, int64_t vocab,
                              const ParamsLocation& location) {
  RETURN_IF_ERROR(CheckIds(location, "allowed_ids", params.allowed_ids, vocab));
  RETURN_IF_ERROR(CheckIds(location, "banned_ids", params.banned_ids, vocab));
  RETURN_IF_ERROR(CheckIds(location, "stop_ids", params.stop_ids, vocab));
  RETURN_IF_ERROR(CheckBias(params, vocab, location));
  for (size_t i = 0; i < params.bad_words.size(); ++i) {
    const std::string field = absl::StrCat("bad_words[", i, "].token_ids");
    if (params.bad_words[i].empty()) return Refused(location, field, "not be empty");
    RETURN_IF_ERROR(CheckIds(location, field, params.bad_words[i], vocab));
  }
  RETURN_IF_ERROR(CheckDry(params.dry, vocab, location));
  if (kind == InputKind::kLogits) return absl::OkStatus();
  if (params.logit_bias.empty()) return absl::OkStatus();
  return Refused(location, "logit_bias", "not be set with weights, which are not logits");
}

// Checks that the order has every stage that is on, and has top-k and top-p only once: alone or in
// TOP_K_TOP_P.
absl::Status CheckOrder(const SamplingParams& params, const ParamsLocation& location) {
  const StageOrder& order = params.stage_order;
  const bool joint = order.Contains(Stage::kTopKTopP);
  if (joint && (order.Contains(Stage::kTopK) || order.Contains(Stage::kTopP))) {
    return Refused(location, "stage_order", "not name TOP_K or TOP_P together with TOP_K_TOP_P");
  }
  for (const Stage stage : kVllmOrder) {
    const bool covered = joint && (stage == Stage::kTopK || stage == Stage::kTopP);
    if (!StageIsOn(params, stage) || order.Contains(stage) || covered) continue;
    return Refused(location, "stage_order",
                   absl::StrCat("name ", StageName(stage), ", which is on"));
  }
  return absl::OkStatus();
}

absl::Status CheckTemperature(const SamplingParams& params, InputKind kind,
                              const ParamsLocation& location) {
  if (kind == InputKind::kWeights) {
    constexpr absl::string_view kOff = "not be set with weights, to which no softmax applies";
    if (params.temperature != 0.0 && params.temperature != 1.0) {
      return OutOfRange(location, "temperature", "0 or 1 with weights, to which no softmax applies",
                        params.temperature);
    }
    if (params.temperature_schedule.has_value()) {
      return Refused(location, "temperature_schedule", kOff);
    }
    if (params.dynamic_temperature.has_value()) {
      return Refused(location, "dynamic_temperature", kOff);
    }
  }
  if (!params.temperature_schedule.has_value()) return absl::OkStatus();
  const TemperatureSchedule& schedule = *params.temperature_schedule;
  if (schedule.kind != TemperatureSchedule::Kind::kExponential) return absl::OkStatus();
  constexpr ParamRange kExponential = Closed(1e-6, 1e6);
  if (!kExponential.Contains(schedule.begin)) {
    return OutOfRange(location, "temperature_schedule.begin", kExponential.ToString(),
                      NumberText(schedule.begin));
  }
  if (!kExponential.Contains(schedule.end)) {
    return OutOfRange(location, "temperature_schedule.end", kExponential.ToString(),
                      NumberText(schedule.end));
  }
  return absl::OkStatus();
}

// Checks the stages that carry state from step to step.
absl::Status CheckStateful(const SamplingParams& params, int64_t vocab,
                           const ParamsLocation& location) {
  if (params.mirostat.has_value() && params.adaptive_p.has_value()) {
    return Refused(location, "adaptive_p", "not be set together with mirostat");
  }
  if (params.top_p_decay.has_value()) {
    RETURN_IF_ERROR(
        CheckIds(location, "top_p_decay.reset_ids", params.top_p_decay->reset_ids, vocab));
  }
  if (!params.stateful() || params.num_samples == 1) return absl::OkStatus();
  return OutOfRange(
      location, "num_samples",
      absl::StrCat("1 with ", params.state_param(), ", whose state follows one token"),
      params.num_samples);
}

}  // namespace

StageOrder DefaultStageOrder() { return kVllmOrder; }

absl::string_view SamplingParams::state_param() const {
  for (const StageInfo& info : kStages) {
    if (info.has_state != nullptr && info.has_state(*this)) return info.state_param;
  }
  return "";
}

const ScalarParam* FindScalarParam(absl::string_view name) {
  const auto* const found = std::find_if(std::begin(kScalarParams), std::end(kScalarParams),
                                         [&](const ScalarParam& row) { return row.name == name; });
  return found == std::end(kScalarParams) ? nullptr : found;
}

std::string ParamRange::ToString() const {
  // Writes 1e+06 as 1e6.
  const auto text = [](double number) {
    return absl::StrReplaceAll(absl::StrCat(number), {{"e+0", "e"}, {"e-0", "e-"}});
  };
  if (std::isinf(high)) return absl::StrCat("at least ", text(low));
  const std::string whole =
      high >= 1e6 && high != 1e6 ? absl::StrCat(static_cast<int64_t>(high)) : text(high);
  return absl::StrCat(or_zero ? "0 or " : "", "in ", without_low ? "(" : "[", text(low), ", ",
                      whole, without_high ? ")" : "]");
}

absl::Status ValidateParams(const SamplingParams& params, InputKind kind, int64_t vocab,
                            const ParamsLocation& location) {
  RETURN_IF_ERROR(CheckScalars(params, kind, location));
  if (!params.replacement && int64_t{params.num_samples} > vocab) {
    return OutOfRange(location, "num_samples",
                      absl::StrCat("at most the ", vocab, vocab == 1 ? " token" : " tokens",
                                   " of the row without replacement"),
                      params.num_samples);
  }
  RETURN_IF_ERROR(CheckTemperature(params, kind, location));
  RETURN_IF_ERROR(CheckStateful(params, vocab, location));
  RETURN_IF_ERROR(CheckOrder(params, location));
  RETURN_IF_ERROR(CheckAdjustments(params, kind, vocab, location));
  return absl::OkStatus();
}

void ShortenLists(int64_t vocab, SamplingParams& params) {
  const bool has_short_words =
      std::any_of(params.bad_words.begin(), params.bad_words.end(),
                  [](const std::vector<uint32_t>& word) { return word.size() == 1; });
  if (has_short_words) {
    std::erase_if(params.bad_words, [&params](const std::vector<uint32_t>& word) {
      if (word.size() == 1) params.banned_ids.push_back(word[0]);
      return word.size() == 1;
    });
  }
  for (std::vector<uint32_t>* ids : {&params.allowed_ids, &params.banned_ids, &params.stop_ids}) {
    if (ids->size() < 2) continue;
    std::vector<bool> seen(static_cast<size_t>(vocab));
    std::erase_if(*ids, [&seen](uint32_t id) {
      if (seen[id]) return true;
      seen[id] = true;
      return false;
    });
    ids->shrink_to_fit();
  }
}

}  // namespace token_sampler
