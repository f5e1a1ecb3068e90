#include "client/wire/params_wire.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <vector>

#include "client/wire/wire_enums.h"

namespace token_sampler::client {
namespace {

void AddIds(const std::vector<uint32_t>& ids, google::protobuf::RepeatedField<uint32_t>* proto) {
  proto->Add(ids.begin(), ids.end());
}

void SetField(google::protobuf::Message* proto, const google::protobuf::FieldDescriptor* field,
              double value) {
  proto->GetReflection()->SetDouble(proto, field, value);
}
void SetField(google::protobuf::Message* proto, const google::protobuf::FieldDescriptor* field,
              uint32_t value) {
  proto->GetReflection()->SetUInt32(proto, field, value);
}
void SetField(google::protobuf::Message* proto, const google::protobuf::FieldDescriptor* field,
              int32_t value) {
  proto->GetReflection()->SetInt32(proto, field, value);
}
void SetField(google::protobuf::Message* proto, const google::protobuf::FieldDescriptor* field,
              bool value) {
  proto->GetReflection()->SetBool(proto, field, value);
}

void ScalarsToProto(const SamplingParams& params, v1::SamplingParams* proto) {
  ForEachScalar(params, [proto](const auto& member, const ScalarDescription& description) {
    if (!member.has_value()) return;
    SetField(proto, v1::SamplingParams::descriptor()->FindFieldByName(description.name), *member);
  });
}

void FiltersToProto(const SamplingParams& params, v1::SamplingParams* proto) {
  if (params.top_k_ties) {
    proto->set_top_k_ties(*params.top_k_ties == TiePolicy::kKeepAll ? v1::TIE_POLICY_KEEP_ALL
                                                                    : v1::TIE_POLICY_EXACTLY_K);
  }
  if (params.xtc) {
    proto->mutable_xtc()->set_probability(params.xtc->probability);
    proto->mutable_xtc()->set_threshold(params.xtc->threshold);
  }
  if (params.mirostat) {
    proto->mutable_mirostat()->set_version(params.mirostat->version);
    proto->mutable_mirostat()->set_tau(params.mirostat->tau);
    proto->mutable_mirostat()->set_eta(params.mirostat->eta);
  }
  if (params.adaptive_p) {
    proto->mutable_adaptive_p()->set_target(params.adaptive_p->target);
    proto->mutable_adaptive_p()->set_decay(params.adaptive_p->decay);
  }
  if (params.top_p_decay) {
    v1::TopPDecay& decay = *proto->mutable_top_p_decay();
    decay.set_decay(params.top_p_decay->decay);
    decay.set_min(params.top_p_decay->min);
    AddIds(params.top_p_decay->reset_ids, decay.mutable_reset_ids());
  }
  if (params.stage_preset) {
    proto->set_stage_preset(ToWire(*params.stage_preset));
  }
  for (const Stage stage : params.stage_order) {
    proto->add_stage_order(ToWire(stage));
  }
}

void AdjustmentsToProto(const SamplingParams& params, v1::SamplingParams* proto) {
  AddIds(params.allowed_ids, proto->mutable_allowed_ids());
  AddIds(params.banned_ids, proto->mutable_banned_ids());
  for (const std::vector<uint32_t>& word : params.bad_words) {
    AddIds(word, proto->add_bad_words()->mutable_token_ids());
  }
  AddIds(params.stop_ids, proto->mutable_stop_ids());
  for (const TokenBias& bias : params.logit_bias) {
    proto->mutable_logit_bias()->add_token_ids(bias.token_id);
    proto->mutable_logit_bias()->add_values(bias.value);
  }
  if (!params.dry) return;
  v1::Dry& dry = *proto->mutable_dry();
  dry.set_multiplier(params.dry->multiplier);
  dry.set_base(params.dry->base);
  dry.set_allowed_length(params.dry->allowed_length);
  dry.set_last_n(params.dry->last_n);
  for (const std::vector<uint32_t>& breaker : params.dry->breakers) {
    AddIds(breaker, dry.add_breakers()->mutable_token_ids());
  }
}

}  // namespace

void ToProto(const SamplingParams& params, v1::SamplingParams* proto) {
  ScalarsToProto(params, proto);
  if (params.temperature_schedule) {
    v1::TemperatureSchedule& schedule = *proto->mutable_temperature_schedule();
    schedule.set_kind(params.temperature_schedule->exponential
                          ? v1::TemperatureSchedule::KIND_EXPONENTIAL
                          : v1::TemperatureSchedule::KIND_LINEAR);
    schedule.set_begin(params.temperature_schedule->begin);
    schedule.set_end(params.temperature_schedule->end);
    schedule.set_num_steps(params.temperature_schedule->num_steps);
  }
  if (params.dynamic_temperature) {
    proto->mutable_dynamic_temperature()->set_range(params.dynamic_temperature->range);
    proto->mutable_dynamic_temperature()->set_exponent(params.dynamic_temperature->exponent);
  }
  if (params.invalid_values) {
    proto->set_invalid_values(ToWire(*params.invalid_values));
  }
  FiltersToProto(params, proto);
  AdjustmentsToProto(params, proto);
}

void ToProto(const RowKeys& keys, v1::RowKeys* proto) {
  proto->mutable_seeds()->Add(keys.seeds.begin(), keys.seeds.end());
  proto->mutable_steps()->Add(keys.steps.begin(), keys.steps.end());
  proto->mutable_streams()->Add(keys.streams.begin(), keys.streams.end());
}

absl::Status CheckHistories(const std::vector<History>& histories, bool skip_unknown_ids) {
  if (!skip_unknown_ids || !histories.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("skip_unknown_ids needs histories");
}

void ToProto(const std::vector<History>& histories, bool skip_unknown_ids, v1::Histories* proto) {
  if (skip_unknown_ids) proto->set_skip_unknown_ids(true);
  const auto lists = [&](std::vector<uint32_t> History::*ids,
                         v1::IdLists* (v1::Histories::*list)()) {
    if (std::all_of(histories.begin(), histories.end(),
                    [ids](const History& history) { return (history.*ids).empty(); })) {
      return;
    }
    for (const History& history : histories) {
      (proto->*list)()->add_lengths(static_cast<uint32_t>((history.*ids).size()));
      AddIds(history.*ids, (proto->*list)()->mutable_token_ids());
    }
  };
  lists(&History::prompt_ids, &v1::Histories::mutable_prompt_ids);
  lists(&History::output_ids, &v1::Histories::mutable_output_ids);
  lists(&History::prompt_set, &v1::Histories::mutable_prompt_set);
  if (std::all_of(histories.begin(), histories.end(),
                  [](const History& history) { return history.output_counts.empty(); })) {
    return;
  }
  v1::IdCounts& counts = *proto->mutable_output_counts();
  for (const History& history : histories) {
    counts.add_lengths(static_cast<uint32_t>(history.output_counts.size()));
    for (const TokenCount& token : history.output_counts) {
      counts.add_token_ids(token.token_id);
      counts.add_counts(token.count);
    }
  }
}

void ToProto(const RowState& state, v1::RowState* proto) {
  if (state.mirostat_mu) proto->set_mirostat_mu(*state.mirostat_mu);
  if (state.adaptive_p_sum) proto->set_adaptive_p_sum(*state.adaptive_p_sum);
  if (state.adaptive_p_weight) proto->set_adaptive_p_weight(*state.adaptive_p_weight);
  if (state.top_p) proto->set_top_p(*state.top_p);
}

void ToProto(const OutputOptions& outputs, v1::OutputOptions* proto) {
  if (outputs.logprobs) proto->set_logprobs(true);
  if (outputs.top_logprobs > 0) proto->set_top_logprobs(outputs.top_logprobs);
  if (outputs.logprob_mode == LogprobMode::kProcessed) {
    proto->set_logprob_mode(v1::LOGPROB_MODE_PROCESSED);
  }
  if (outputs.ranks) proto->set_ranks(true);
  if (outputs.ranks_count_equals) proto->set_rank_mode(v1::RANK_MODE_GREATER_EQUAL);
  if (outputs.kept_count) proto->set_kept_count(true);
  if (outputs.kept_set) proto->set_kept_set(true);
  if (outputs.entropy) proto->set_entropy(true);
  if (outputs.extremes) proto->set_extremes(true);
  if (outputs.gumbel_softmax != 0.0) proto->set_gumbel_softmax(outputs.gumbel_softmax);
}

RowState FromProto(const v1::RowState& proto) {
  RowState state;
  if (proto.has_mirostat_mu()) state.mirostat_mu = proto.mirostat_mu();
  if (proto.has_adaptive_p_sum()) state.adaptive_p_sum = proto.adaptive_p_sum();
  if (proto.has_adaptive_p_weight()) state.adaptive_p_weight = proto.adaptive_p_weight();
  if (proto.has_top_p()) state.top_p = proto.top_p();
  return state;
}

}  // namespace token_sampler::client
