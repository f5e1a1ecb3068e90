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

// The same without 0.
bool InPositiveRange(double value, double high) { return value > 0.0 && value <= high; }

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

absl::Status CheckDry(const Dry& dry, int64_t vocab, const ParamsLocation& location) {
  if (!InRange(dry.multiplier, 0.0, 1e6)) {
    return OutOfRange(location, "dry.multiplier", "in [0, 1e6]", dry.multiplier);
  }
  if (!InRange(dry.base, 1.0, 1e6)) {
    return OutOfRange(location, "dry.base", "in [1, 1e6]", dry.base);
  }
  if (dry.allowed_length < 1) {
    return OutOfRange(location, "dry.allowed_length", "at least 1", dry.allowed_length);
  }
  if (dry.last_n < -1) return OutOfRange(location, "dry.last_n", "at least -1", dry.last_n);
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
    if (absl::Status status = CheckIds(location, field, dry.breakers[i], vocab); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
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
  if (absl::Status status = CheckDry(params.dry, vocab, location); !status.ok()) return status;
  if (params.penalty_last_n < -1) {
    return OutOfRange(location, "penalty_last_n", "at least -1", params.penalty_last_n);
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
  if (params.dry.multiplier != 0.0) {
    return OutOfRange(location, "dry.multiplier", kOff, params.dry.multiplier);
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
  for (const Stage stage : kVllmOrder) {
    const bool covered = joint && (stage == Stage::kTopK || stage == Stage::kTopP);
    if (!StageIsOn(params, stage) || order.Contains(stage) || covered) continue;
    return OutOfRange(location, "stage_order",
                      absl::StrCat("one that names ", StageName(stage), ", which is on"),
                      "one without");
  }
  return absl::OkStatus();
}

absl::Status CheckSchedule(const TemperatureSchedule& schedule, const ParamsLocation& location) {
  const bool linear = schedule.kind == TemperatureSchedule::Kind::kLinear;
  const double low = linear ? 0.0 : 1e-6;
  const absl::string_view range = linear ? "in [0, 1e6]" : "in [1e-6, 1e6]";
  if (!InRange(schedule.begin, low, 1e6)) {
    return OutOfRange(location, "temperature_schedule.begin", range, schedule.begin);
  }
  if (!InRange(schedule.end, low, 1e6)) {
    return OutOfRange(location, "temperature_schedule.end", range, schedule.end);
  }
  if (schedule.num_steps < 1) {
    return OutOfRange(location, "temperature_schedule.num_steps", "at least 1", schedule.num_steps);
  }
  return absl::OkStatus();
}

absl::Status CheckTemperature(const SamplingParams& params, InputKind kind,
                              const ParamsLocation& location) {
  const bool weights = kind == InputKind::kWeights;
  constexpr absl::string_view kOff = "off with weights, to which no softmax applies";
  if (params.temperature != 0.0 && !InRange(params.temperature, 1e-6, 1e6)) {
    return OutOfRange(location, "temperature", "0 (greedy) or in [1e-6, 1e6]", params.temperature);
  }
  if (weights && params.temperature != 0.0 && params.temperature != 1.0) {
    return OutOfRange(location, "temperature", "0 or 1 with weights, to which no softmax applies",
                      params.temperature);
  }
  if (params.temperature_schedule.has_value()) {
    if (weights) return OutOfRange(location, "temperature_schedule", kOff, "one");
    absl::Status status = CheckSchedule(*params.temperature_schedule, location);
    if (!status.ok()) return status;
  }
  if (params.dynamic_temperature.has_value()) {
    const DynamicTemperature& dynamic = *params.dynamic_temperature;
    if (weights) return OutOfRange(location, "dynamic_temperature", kOff, "one");
    if (!InRange(dynamic.range, 0.0, 1e6)) {
      return OutOfRange(location, "dynamic_temperature.range", "in [0, 1e6]", dynamic.range);
    }
    if (!InRange(dynamic.exponent, 0.0, 1e3)) {
      return OutOfRange(location, "dynamic_temperature.exponent", "in [0, 1e3]", dynamic.exponent);
    }
  }
  if (params.greedy_threshold.has_value() && !InPositiveRange(*params.greedy_threshold, 1.0)) {
    return OutOfRange(location, "greedy_threshold", "in (0, 1]", *params.greedy_threshold);
  }
  return absl::OkStatus();
}

absl::Status CheckFilters(const SamplingParams& params, InputKind kind,
                          const ParamsLocation& location) {
  if (!InRange(params.top_p, 0.0, 1.0)) {
    return OutOfRange(location, "top_p", "in [0, 1]", params.top_p);
  }
  if (!InRange(params.min_p, 0.0, 1.0)) {
    return OutOfRange(location, "min_p", "in [0, 1]", params.min_p);
  }
  if (!InPositiveRange(params.typical_p, 1.0)) {
    return OutOfRange(location, "typical_p", "in (0, 1]", params.typical_p);
  }
  if (!InRange(params.epsilon_cutoff, 0.0, 1.0) || params.epsilon_cutoff == 1.0) {
    return OutOfRange(location, "epsilon_cutoff", "in [0, 1)", params.epsilon_cutoff);
  }
  if (!InRange(params.eta_cutoff, 0.0, 1.0) || params.eta_cutoff == 1.0) {
    return OutOfRange(location, "eta_cutoff", "in [0, 1)", params.eta_cutoff);
  }
  if (!InRange(params.top_n_sigma, 0.0, 1e6)) {
    return OutOfRange(location, "top_n_sigma", "in [0, 1e6]", params.top_n_sigma);
  }
  if (params.top_n_sigma != 0.0 && kind == InputKind::kWeights) {
    return OutOfRange(location, "top_n_sigma", "off with weights, which are no logits",
                      params.top_n_sigma);
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
  return absl::OkStatus();
}

// Stages whose state travels from step to step.
absl::Status CheckStateful(const SamplingParams& params, int64_t vocab,
                           const ParamsLocation& location) {
  if (params.mirostat.has_value()) {
    const Mirostat& mirostat = *params.mirostat;
    if (mirostat.version < 1 || mirostat.version > 2) {
      return OutOfRange(location, "mirostat.version", "1 or 2", mirostat.version);
    }
    if (!InPositiveRange(mirostat.tau, 1e3)) {
      return OutOfRange(location, "mirostat.tau", "in (0, 1e3]", mirostat.tau);
    }
    if (!InPositiveRange(mirostat.eta, 1.0)) {
      return OutOfRange(location, "mirostat.eta", "in (0, 1]", mirostat.eta);
    }
    if (params.adaptive_p.has_value()) {
      return OutOfRange(location, "adaptive_p", "off with mirostat", "one");
    }
  }
  if (params.adaptive_p.has_value()) {
    if (!InRange(params.adaptive_p->target, 0.0, 1.0)) {
      return OutOfRange(location, "adaptive_p.target", "in [0, 1]", params.adaptive_p->target);
    }
    if (!InRange(params.adaptive_p->decay, 0.0, 0.99)) {
      return OutOfRange(location, "adaptive_p.decay", "in [0, 0.99]", params.adaptive_p->decay);
    }
  }
  if (params.top_p_decay.has_value()) {
    const TopPDecay& decay = *params.top_p_decay;
    if (!InPositiveRange(decay.decay, 1.0)) {
      return OutOfRange(location, "top_p_decay.decay", "in (0, 1]", decay.decay);
    }
    if (!InPositiveRange(decay.min, 1.0)) {
      return OutOfRange(location, "top_p_decay.min", "in (0, 1]", decay.min);
    }
    absl::Status status = CheckIds(location, "top_p_decay.reset_ids", decay.reset_ids, vocab);
    if (!status.ok()) return status;
  }
  if (!params.stateful() || params.num_samples == 1) return absl::OkStatus();
  return OutOfRange(location, "num_samples",
                    "1 with mirostat, adaptive_p or top_p_decay, whose state follows one token",
                    params.num_samples);
}

}  // namespace

bool StageIsOn(const SamplingParams& params, Stage stage) {
  switch (stage) {
    case Stage::kTemperature:
      return params.temperature != 1.0 || params.temperature_schedule.has_value() ||
             params.dynamic_temperature.has_value() || params.greedy_threshold.has_value();
    case Stage::kMinP:
      return params.min_p != 0.0;
    case Stage::kTopK:
      return params.top_k != 0;
    case Stage::kTopP:
      return params.top_p != 1.0 || params.top_p_decay.has_value();
    case Stage::kTypical:
      return params.typical_p != 1.0;
    case Stage::kEpsilon:
      return params.epsilon_cutoff != 0.0;
    case Stage::kEta:
      return params.eta_cutoff != 0.0;
    case Stage::kTopNSigma:
      return params.top_n_sigma != 0.0;
    case Stage::kPLess:
      return params.p_less;
    case Stage::kXtc:
      return params.xtc_probability != 0.0;
    case Stage::kMirostat:
      return params.mirostat.has_value();
    case Stage::kAdaptiveP:
      return params.adaptive_p.has_value();
    case Stage::kTopKTopP:
      return StageIsOn(params, Stage::kTopK) || StageIsOn(params, Stage::kTopP);
  }
  return false;
}

absl::Status ValidateParams(const SamplingParams& params, InputKind kind, int64_t vocab,
                            const ParamsLocation& location) {
  if (params.num_samples < 1 || params.num_samples > kMaxDraws) {
    return OutOfRange(location, "num_samples", absl::StrCat("in [1, ", kMaxDraws, "]"),
                      params.num_samples);
  }
  if (!params.replacement && int64_t{params.num_samples} > vocab) {
    return OutOfRange(location, "num_samples",
                      absl::StrCat("at most the ", vocab, vocab == 1 ? " token" : " tokens",
                                   " of the row without replacement"),
                      params.num_samples);
  }
  for (absl::Status status :
       {CheckTemperature(params, kind, location), CheckFilters(params, kind, location),
        CheckStateful(params, vocab, location), CheckOrder(params, location),
        CheckAdjustments(params, kind, vocab, location)}) {
    if (!status.ok()) return status;
  }
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
