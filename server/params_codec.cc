#include "server/params_codec.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// The stages that this server has, as the sampler names them.
constexpr struct {
  v1::Stage wire;
  Stage stage;
} kStages[] = {
    {v1::STAGE_TEMPERATURE, Stage::kTemperature},
    {v1::STAGE_MIN_P, Stage::kMinP},
    {v1::STAGE_TOP_K, Stage::kTopK},
    {v1::STAGE_TOP_P, Stage::kTopP},
    {v1::STAGE_EPSILON, Stage::kEpsilon},
    {v1::STAGE_P_LESS, Stage::kPLess},
    {v1::STAGE_XTC, Stage::kXtc},
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

absl::Status DecodeAdjustments(const v1::SamplingParams& message, int index,
                               SamplingParams& params) {
  params.allowed_ids = Ids(message.allowed_ids());
  params.banned_ids = Ids(message.banned_ids());
  for (const v1::TokenSequence& word : message.bad_words()) {
    params.bad_words.push_back(Ids(word.token_ids()));
  }
  if (message.has_min_tokens()) params.min_tokens = message.min_tokens();
  params.stop_ids = Ids(message.stop_ids());
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
  if (message.has_no_repeat_ngram_size()) {
    params.no_repeat_ngram_size = message.no_repeat_ngram_size();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DecodeParams(const v1::SamplingParams& message, int index, SamplingParams& params) {
  if (message.has_temperature()) params.temperature = message.temperature();
  if (message.has_num_samples()) params.num_samples = message.num_samples();
  if (message.has_replacement()) params.replacement = message.replacement();
  if (message.has_top_k()) params.top_k = message.top_k();
  if (message.has_top_p()) params.top_p = message.top_p();
  if (message.has_min_p()) params.min_p = message.min_p();
  if (message.top_k_ties() == v1::TIE_POLICY_KEEP_ALL) params.top_k_ties = TiePolicy::kKeepAll;
  if (message.has_epsilon_cutoff()) params.epsilon_cutoff = message.epsilon_cutoff();
  if (message.has_p_less()) params.p_less = message.p_less();
  if (message.xtc().has_probability()) params.xtc_probability = message.xtc().probability();
  if (message.xtc().has_threshold()) params.xtc_threshold = message.xtc().threshold();
  if (message.has_min_tokens_to_keep()) params.min_tokens_to_keep = message.min_tokens_to_keep();
  if (absl::Status status = DecodeStageOrder(message, index, params.stage_order); !status.ok()) {
    return status;
  }
  return DecodeAdjustments(message, index, params);
}

}  // namespace token_sampler
