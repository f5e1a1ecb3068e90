#include "server/params_codec.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/invalid_argument.h"

namespace token_sampler {
namespace {

// The stages that this server has, as the sampler names them.
constexpr struct {
  v1::Stage wire;
  Stage stage;
} kStages[] = {
    {v1::STAGE_TEMPERATURE, Stage::kTemperature},
    {v1::STAGE_MIN_P, Stage::kMinP},
    {v1::STAGE_TOP_K, Stage::kTopK},
    {v1::STAGE_TOP_P, Stage::kTopP},
    {v1::STAGE_TYPICAL_P, Stage::kTypical},
    {v1::STAGE_EPSILON, Stage::kEpsilon},
    {v1::STAGE_ETA, Stage::kEta},
    {v1::STAGE_TOP_N_SIGMA, Stage::kTopNSigma},
    {v1::STAGE_P_LESS, Stage::kPLess},
    {v1::STAGE_XTC, Stage::kXtc},
    {v1::STAGE_MIROSTAT, Stage::kMirostat},
    {v1::STAGE_ADAPTIVE_P, Stage::kAdaptiveP},
    {v1::STAGE_TOP_K_TOP_P, Stage::kTopKTopP},
};

absl::Status DecodeStageOrder(const v1::SamplingParams& message, int index, StageOrder& order) {
  const std::string profile = absl::StrCat("params[", index, "]");
  switch (message.stage_preset()) {
    case v1::STAGE_PRESET_HF:
      order = kHfOrder;
      break;
    case v1::STAGE_PRESET_LLAMA_CPP:
      order = kLlamaCppOrder;
      break;
    case v1::STAGE_PRESET_SGLANG:
      order = kSglangOrder;
      break;
    default:
      order = kVllmOrder;
  }
  if (message.stage_order().empty()) return absl::OkStatus();
  if (message.has_stage_preset()) {
    return Invalid(profile, " must not set both stage_preset and stage_order");
  }
  order = StageOrder();
  for (int i = 0; i < message.stage_order_size(); ++i) {
    const v1::Stage wire = message.stage_order(i);
    const auto* known = std::find_if(std::begin(kStages), std::end(kStages),
                                     [&](const auto& entry) { return entry.wire == wire; });
    const std::string name = v1::Stage_IsValid(wire) ? v1::Stage_Name(wire) : absl::StrCat(wire);
    if (known == std::end(kStages)) {
      return Invalid(profile, ".stage_order[", i, "] is not a stage of this server: ", name);
    }
    if (!order.Add(known->stage)) {
      return Invalid(profile, ".stage_order[", i, "] names ", name, " again");
    }
  }
  return absl::OkStatus();
}

std::vector<uint32_t> Ids(const google::protobuf::RepeatedField<uint32_t>& ids) {
  return {ids.begin(), ids.end()};
}

absl::Status Missing(int index, const char* field) {
  return Invalid("params[", index, "].", field, " must be set");
}

// Refuses settings that differ from the default while the value that turns the stage on is not set,
// not even to off: they would do nothing.
absl::Status DecodeDry(const v1::Dry& message, int index, Dry& dry) {
  const Dry defaults;
  if (message.has_multiplier()) dry.multiplier = message.multiplier();
  if (message.has_base()) dry.base = message.base();
  if (message.has_allowed_length()) dry.allowed_length = message.allowed_length();
  if (message.has_last_n()) dry.last_n = message.last_n();
  for (const v1::TokenSequence& breaker : message.breakers()) {
    dry.breakers.push_back(Ids(breaker.token_ids()));
  }
  const bool changed = dry.base != defaults.base || dry.allowed_length != defaults.allowed_length ||
                       dry.last_n != defaults.last_n || !dry.breakers.empty();
  if (changed && !message.has_multiplier()) return Missing(index, "dry.multiplier");
  return absl::OkStatus();
}

absl::Status DecodeXtc(const v1::Xtc& message, int index, SamplingParams& params) {
  const double threshold = params.xtc_threshold;
  if (message.has_probability()) params.xtc_probability = message.probability();
  if (message.has_threshold()) params.xtc_threshold = message.threshold();
  if (params.xtc_threshold != threshold && !message.has_probability()) {
    return Missing(index, "xtc.probability");
  }
  return absl::OkStatus();
}

absl::Status DecodeAdjustments(const v1::SamplingParams& message, int index,
                               SamplingParams& params) {
  params.allowed_ids = Ids(message.allowed_ids());
  params.banned_ids = Ids(message.banned_ids());
  for (const v1::TokenSequence& word : message.bad_words()) {
    params.bad_words.push_back(Ids(word.token_ids()));
  }
  if (message.has_min_tokens()) params.min_tokens = message.min_tokens();
  params.stop_ids = Ids(message.stop_ids());
  if (params.min_tokens > 0 && params.stop_ids.empty()) {
    return Invalid("params[", index, "].min_tokens needs stop_ids, which it bans, got none");
  }
  const v1::LogitBias& bias = message.logit_bias();
  if (bias.token_ids_size() != bias.values_size()) {
    return Invalid("params[", index, "].logit_bias must have as many values as token_ids (",
                   bias.token_ids_size(), "), got ", bias.values_size());
  }
  for (int i = 0; i < bias.token_ids_size(); ++i) {
    params.logit_bias.push_back({bias.token_ids(i), bias.values(i)});
  }
  if (message.has_repetition_penalty()) params.repetition_penalty = message.repetition_penalty();
  if (message.has_frequency_penalty()) params.frequency_penalty = message.frequency_penalty();
  if (message.has_presence_penalty()) params.presence_penalty = message.presence_penalty();
  if (message.has_penalty_last_n()) params.penalty_last_n = message.penalty_last_n();
  if (message.has_no_repeat_ngram_size()) {
    params.no_repeat_ngram_size = message.no_repeat_ngram_size();
  }
  return DecodeDry(message.dry(), index, params.dry);
}

absl::Status DecodeTemperature(const v1::SamplingParams& message, int index,
                               SamplingParams& params) {
  if (message.has_temperature()) params.temperature = message.temperature();
  if (message.has_greedy_threshold()) params.greedy_threshold = message.greedy_threshold();
  if (message.has_temperature_schedule()) {
    const v1::TemperatureSchedule& schedule = message.temperature_schedule();
    if (message.has_temperature()) {
      return Invalid("params[", index, "] must not set both temperature and temperature_schedule");
    }
    if (schedule.kind() == v1::TemperatureSchedule::KIND_UNSPECIFIED) {
      return Missing(index, "temperature_schedule.kind");
    }
    if (!schedule.has_begin()) return Missing(index, "temperature_schedule.begin");
    if (!schedule.has_end()) return Missing(index, "temperature_schedule.end");
    if (!schedule.has_num_steps()) return Missing(index, "temperature_schedule.num_steps");
    params.temperature_schedule =
        TemperatureSchedule{schedule.kind() == v1::TemperatureSchedule::KIND_LINEAR
                                ? TemperatureSchedule::Kind::kLinear
                                : TemperatureSchedule::Kind::kExponential,
                            schedule.begin(), schedule.end(), schedule.num_steps()};
  }
  if (message.has_dynamic_temperature()) {
    const v1::DynamicTemperature& dynamic = message.dynamic_temperature();
    if (!dynamic.has_range()) return Missing(index, "dynamic_temperature.range");
    params.dynamic_temperature = DynamicTemperature{.range = dynamic.range()};
    if (dynamic.has_exponent()) params.dynamic_temperature->exponent = dynamic.exponent();
  }
  return absl::OkStatus();
}

absl::Status DecodeStateful(const v1::SamplingParams& message, int index, SamplingParams& params) {
  if (message.has_mirostat()) {
    const v1::Mirostat& mirostat = message.mirostat();
    if (!mirostat.has_version()) return Missing(index, "mirostat.version");
    params.mirostat = Mirostat{.version = mirostat.version()};
    if (mirostat.has_tau()) params.mirostat->tau = mirostat.tau();
    if (mirostat.has_eta()) params.mirostat->eta = mirostat.eta();
  }
  if (message.has_adaptive_p()) {
    const v1::AdaptiveP& adaptive = message.adaptive_p();
    if (!adaptive.has_target()) return Missing(index, "adaptive_p.target");
    params.adaptive_p = AdaptiveP{.target = adaptive.target()};
    if (adaptive.has_decay()) params.adaptive_p->decay = adaptive.decay();
  }
  if (message.has_top_p_decay()) {
    const v1::TopPDecay& decay = message.top_p_decay();
    if (!decay.has_decay()) return Missing(index, "top_p_decay.decay");
    params.top_p_decay = TopPDecay{.decay = decay.decay(), .reset_ids = Ids(decay.reset_ids())};
    if (decay.has_min()) params.top_p_decay->min = decay.min();
  }
  return absl::OkStatus();
}

TiePolicy DecodeTies(const v1::SamplingParams& message) {
  switch (message.top_k_ties()) {
    case v1::TIE_POLICY_KEEP_ALL:
      return TiePolicy::kKeepAll;
    case v1::TIE_POLICY_EXACTLY_K:
      return TiePolicy::kExactlyK;
    default:
      // transformers compares with the k-th value.
      return message.stage_preset() == v1::STAGE_PRESET_HF ? TiePolicy::kKeepAll
                                                           : TiePolicy::kExactlyK;
  }
}

InvalidValuePolicy DecodePolicy(v1::InvalidValuePolicy policy) {
  switch (policy) {
    case v1::INVALID_VALUE_POLICY_SANITIZE:
      return InvalidValuePolicy::kSanitize;
    case v1::INVALID_VALUE_POLICY_SANITIZE_UNIFORM:
      return InvalidValuePolicy::kSanitizeUniform;
    default:
      return InvalidValuePolicy::kFail;
  }
}

}  // namespace

absl::Status DecodeParams(const v1::SamplingParams& message, int index, SamplingParams& params) {
  if (message.has_num_samples()) params.num_samples = message.num_samples();
  if (message.has_replacement()) params.replacement = message.replacement();
  params.invalid_values = DecodePolicy(message.invalid_values());
  if (message.has_top_k()) params.top_k = message.top_k();
  params.top_k_ties = DecodeTies(message);
  if (message.has_top_p()) params.top_p = message.top_p();
  if (message.has_min_p()) params.min_p = message.min_p();
  if (message.has_typical_p()) params.typical_p = message.typical_p();
  if (message.has_epsilon_cutoff()) params.epsilon_cutoff = message.epsilon_cutoff();
  if (message.has_eta_cutoff()) params.eta_cutoff = message.eta_cutoff();
  if (message.has_top_n_sigma()) params.top_n_sigma = message.top_n_sigma();
  if (message.has_p_less()) params.p_less = message.p_less();
  if (message.has_min_tokens_to_keep()) params.min_tokens_to_keep = message.min_tokens_to_keep();
  for (absl::Status status :
       {DecodeXtc(message.xtc(), index, params), DecodeTemperature(message, index, params),
        DecodeStateful(message, index, params),
        DecodeStageOrder(message, index, params.stage_order)}) {
    if (!status.ok()) return status;
  }
  return DecodeAdjustments(message, index, params);
}

}  // namespace token_sampler
