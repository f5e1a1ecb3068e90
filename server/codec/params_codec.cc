#include "server/codec/params_codec.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/codec/wire_enums.h"

namespace token_sampler {
namespace {

// A scalar field of SamplingParams or of a message in it, and the parameter that it sets.
struct ScalarField {
  const google::protobuf::FieldDescriptor* field;
  const ScalarParam* param;
};

// Returns the fields of `message` that kScalarParams has under `prefix` followed by their name.
std::vector<ScalarField> ScalarFields(const google::protobuf::Descriptor& message,
                                      absl::string_view prefix) {
  std::vector<ScalarField> fields;
  for (int i = 0; i < message.field_count(); ++i) {
    const google::protobuf::FieldDescriptor* const field = message.field(i);
    const ScalarParam* const param = FindScalarParam(absl::StrCat(prefix, field->name()));
    if (param != nullptr) fields.push_back({field, param});
  }
  return fields;
}

double NumberIn(const google::protobuf::Message& message,
                const google::protobuf::FieldDescriptor* field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field->cpp_type()) {
    case google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, field);
    case google::protobuf::FieldDescriptor::CPPTYPE_UINT32:
      return reflection.GetUInt32(message, field);
    case google::protobuf::FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, field);
    default:
      return reflection.GetBool(message, field) ? 1.0 : 0.0;
  }
}

void DecodeScalars(const google::protobuf::Message& message, const std::vector<ScalarField>& fields,
                   SamplingParams& params) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (const ScalarField& scalar : fields) {
    if (reflection.HasField(message, scalar.field)) {
      scalar.param->set(params, NumberIn(message, scalar.field));
    }
  }
}

// Decodes the scalars of a message that is the field `name` of SamplingParams.
template <typename Message>
void DecodeScalarsOf(const Message& message, absl::string_view name, SamplingParams& params) {
  static const std::vector<ScalarField>& fields =
      *new std::vector<ScalarField>(ScalarFields(*Message::descriptor(), absl::StrCat(name, ".")));
  DecodeScalars(message, fields, params);
}

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
    if (!v1::Stage_IsValid(wire) || wire == v1::STAGE_UNSPECIFIED) {
      return Invalid(profile, ".stage_order[", i, "] is not a stage of this server: ",
                     v1::Stage_IsValid(wire) ? v1::Stage_Name(wire) : absl::StrCat(wire));
    }
    if (!order.Add(FromWire(wire))) {
      return Invalid(profile, ".stage_order[", i, "] names ", v1::Stage_Name(wire), " again");
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

// Refuses settings that differ from the default if the value that turns the stage on is not set,
// not even to off: they would have no effect.
absl::Status DecodeDry(const v1::Dry& message, int index, SamplingParams& params) {
  const Dry defaults;
  Dry& dry = params.dry;
  DecodeScalarsOf(message, "dry", params);
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
  DecodeScalarsOf(message, "xtc", params);
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
  return DecodeDry(message.dry(), index, params);
}

absl::Status DecodeTemperature(const v1::SamplingParams& message, int index,
                               SamplingParams& params) {
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
    DecodeScalarsOf(schedule, "temperature_schedule", params);
    params.temperature_schedule->kind = schedule.kind() == v1::TemperatureSchedule::KIND_LINEAR
                                            ? TemperatureSchedule::Kind::kLinear
                                            : TemperatureSchedule::Kind::kExponential;
  }
  if (message.has_dynamic_temperature()) {
    const v1::DynamicTemperature& dynamic = message.dynamic_temperature();
    if (!dynamic.has_range()) return Missing(index, "dynamic_temperature.range");
    DecodeScalarsOf(dynamic, "dynamic_temperature", params);
  }
  return absl::OkStatus();
}

absl::Status DecodeStateful(const v1::SamplingParams& message, int index, SamplingParams& params) {
  if (message.has_mirostat()) {
    if (!message.mirostat().has_version()) return Missing(index, "mirostat.version");
    DecodeScalarsOf(message.mirostat(), "mirostat", params);
  }
  if (message.has_adaptive_p()) {
    if (!message.adaptive_p().has_target()) return Missing(index, "adaptive_p.target");
    DecodeScalarsOf(message.adaptive_p(), "adaptive_p", params);
  }
  if (message.has_top_p_decay()) {
    const v1::TopPDecay& decay = message.top_p_decay();
    if (!decay.has_decay()) return Missing(index, "top_p_decay.decay");
    DecodeScalarsOf(decay, "top_p_decay", params);
    params.top_p_decay->reset_ids = Ids(decay.reset_ids());
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
      // transformers keeps all tokens that equal the k-th.
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
  static const std::vector<ScalarField>& fields =
      *new std::vector<ScalarField>(ScalarFields(*v1::SamplingParams::descriptor(), ""));
  DecodeScalars(message, fields, params);
  params.invalid_values = DecodePolicy(message.invalid_values());
  params.top_k_ties = DecodeTies(message);
  RETURN_IF_ERROR(DecodeXtc(message.xtc(), index, params));
  RETURN_IF_ERROR(DecodeTemperature(message, index, params));
  RETURN_IF_ERROR(DecodeStateful(message, index, params));
  RETURN_IF_ERROR(DecodeStageOrder(message, index, params.stage_order));
  return DecodeAdjustments(message, index, params);
}

}  // namespace token_sampler
