#include "server/field_check.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace token_sampler {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The fields that the codec reads. A field that is set and not here is refused.
struct ImplementedField {
  absl::string_view message;
  absl::string_view field;
};
constexpr ImplementedField kImplementedFields[] = {
    {"DescribeRequest", "request"},
    {"DescribeRequest", "top_n"},
    {"SampleRequest", "tensor"},
    {"SampleRequest", "input_kind"},
    {"SampleRequest", "params"},
    {"SampleRequest", "row_params"},
    {"SampleRequest", "keys"},
    {"SampleRequest", "histories"},
    {"SampleRequest", "states"},
    {"SampleRequest", "bitmask"},
    {"SampleRequest", "outputs"},
    {"SampleStreamRequest", "request_id"},
    {"SampleStreamRequest", "open"},
    {"SampleStreamRequest", "step"},
    {"SampleStreamRequest", "fork"},
    {"SampleStreamRequest", "rollback"},
    {"SampleStreamRequest", "close"},
    {"OpenSequences", "params"},
    {"OpenSequences", "sequences"},
    {"OpenSequences", "vocab"},
    {"OpenSequences", "skip_unknown_ids"},
    {"Sequence", "sequence_id"},
    {"Sequence", "params"},
    {"Sequence", "seed"},
    {"Sequence", "stream"},
    {"Sequence", "step"},
    {"Sequence", "prompt_ids"},
    {"Sequence", "output_ids"},
    {"Sequence", "state"},
    {"StepSequences", "sequence_ids"},
    {"StepSequences", "tensor"},
    {"StepSequences", "input_kind"},
    {"StepSequences", "bitmask"},
    {"StepSequences", "outputs"},
    {"ForkSequence", "sequence_id"},
    {"ForkSequence", "new_sequence_id"},
    {"ForkSequence", "new_stream"},
    {"RollbackSequence", "sequence_id"},
    {"RollbackSequence", "num_tokens"},
    {"CloseSequences", "sequence_ids"},
    {"VerifyDraftRequest", "target"},
    {"VerifyDraftRequest", "draft"},
    {"VerifyDraftRequest", "input_kind"},
    {"VerifyDraftRequest", "draft_lengths"},
    {"VerifyDraftRequest", "draft_token_ids"},
    {"VerifyDraftRequest", "parents"},
    {"VerifyDraftRequest", "params"},
    {"VerifyDraftRequest", "sequence_params"},
    {"VerifyDraftRequest", "keys"},
    {"VerifyDraftRequest", "histories"},
    {"VerifyDraftRequest", "bitmask"},
    {"VerifyDraftRequest", "draft_kind"},
    {"Histories", "prompt_ids"},
    {"Histories", "output_ids"},
    {"Histories", "prompt_set"},
    {"Histories", "output_counts"},
    {"Histories", "skip_unknown_ids"},
    {"IdLists", "lengths"},
    {"IdLists", "token_ids"},
    {"IdCounts", "lengths"},
    {"IdCounts", "token_ids"},
    {"IdCounts", "counts"},
    {"Bitmask", "words"},
    {"Bitmask", "rows"},
    {"Tensor", "dtype"},
    {"Tensor", "rows"},
    {"Tensor", "vocab"},
    {"Tensor", "data"},
    {"Tensor", "region"},
    {"Tensor", "candidates"},
    {"Candidates", "lengths"},
    {"Candidates", "token_ids"},
    {"Candidates", "values"},
    {"Candidates", "rest_log_sum_exp"},
    {"Candidates", "rest_counts"},
    {"Candidates", "inexact"},
    {"RegionSlice", "name"},
    {"RegionSlice", "offset"},
    {"RegionSlice", "row_stride"},
    {"RegisterRegionRequest", "name"},
    {"RegisterRegionRequest", "kind"},
    {"RegisterRegionRequest", "key"},
    {"RegisterRegionRequest", "cuda_handle"},
    {"RegisterRegionRequest", "device"},
    {"RegisterRegionRequest", "offset"},
    {"RegisterRegionRequest", "byte_size"},
    {"RegisterRegionRequest", "cuda_event"},
    {"UnregisterRegionRequest", "name"},
    {"RowKeys", "seeds"},
    {"RowKeys", "steps"},
    {"RowKeys", "streams"},
    {"SamplingParams", "temperature"},
    {"SamplingParams", "num_samples"},
    {"SamplingParams", "replacement"},
    {"SamplingParams", "greedy_threshold"},
    {"SamplingParams", "invalid_values"},
    {"SamplingParams", "top_k"},
    {"SamplingParams", "top_p"},
    {"SamplingParams", "min_p"},
    {"SamplingParams", "typical_p"},
    {"SamplingParams", "top_k_ties"},
    {"SamplingParams", "epsilon_cutoff"},
    {"SamplingParams", "eta_cutoff"},
    {"SamplingParams", "top_n_sigma"},
    {"SamplingParams", "p_less"},
    {"SamplingParams", "xtc"},
    {"SamplingParams", "mirostat"},
    {"SamplingParams", "adaptive_p"},
    {"SamplingParams", "top_p_decay"},
    {"SamplingParams", "min_tokens_to_keep"},
    {"SamplingParams", "stage_preset"},
    {"SamplingParams", "stage_order"},
    {"SamplingParams", "temperature_schedule"},
    {"SamplingParams", "dynamic_temperature"},
    {"SamplingParams", "allowed_ids"},
    {"SamplingParams", "banned_ids"},
    {"SamplingParams", "bad_words"},
    {"SamplingParams", "min_tokens"},
    {"SamplingParams", "stop_ids"},
    {"SamplingParams", "logit_bias"},
    {"SamplingParams", "repetition_penalty"},
    {"SamplingParams", "frequency_penalty"},
    {"SamplingParams", "presence_penalty"},
    {"SamplingParams", "penalty_last_n"},
    {"SamplingParams", "no_repeat_ngram_size"},
    {"SamplingParams", "dry"},
    {"TokenSequence", "token_ids"},
    {"LogitBias", "token_ids"},
    {"LogitBias", "values"},
    {"Xtc", "probability"},
    {"Xtc", "threshold"},
    {"TemperatureSchedule", "kind"},
    {"TemperatureSchedule", "begin"},
    {"TemperatureSchedule", "end"},
    {"TemperatureSchedule", "num_steps"},
    {"DynamicTemperature", "range"},
    {"DynamicTemperature", "exponent"},
    {"Mirostat", "version"},
    {"Mirostat", "tau"},
    {"Mirostat", "eta"},
    {"AdaptiveP", "target"},
    {"AdaptiveP", "decay"},
    {"TopPDecay", "decay"},
    {"TopPDecay", "min"},
    {"TopPDecay", "reset_ids"},
    {"Dry", "multiplier"},
    {"Dry", "base"},
    {"Dry", "allowed_length"},
    {"Dry", "last_n"},
    {"Dry", "breakers"},
    {"RowState", "mirostat_mu"},
    {"RowState", "adaptive_p_sum"},
    {"RowState", "adaptive_p_weight"},
    {"RowState", "top_p"},
    {"OutputOptions", "logprobs"},
    {"OutputOptions", "top_logprobs"},
    {"OutputOptions", "logprob_mode"},
    {"OutputOptions", "ranks"},
    {"OutputOptions", "rank_mode"},
    {"OutputOptions", "kept_count"},
    {"OutputOptions", "kept_set"},
    {"OutputOptions", "entropy"},
    {"OutputOptions", "extremes"},
    {"OutputOptions", "gumbel_softmax"},
};

constexpr absl::string_view kImplementedRpcs[] = {
    "Sample",   "SampleStream",   "VerifyDraft",      "GetServerInfo",
    "Describe", "RegisterRegion", "UnregisterRegion", "ListRegions"};

bool IsImplemented(const FieldDescriptor& field) {
  const std::string& message = field.containing_type()->name();
  return std::any_of(std::begin(kImplementedFields), std::end(kImplementedFields),
                     [&](const ImplementedField& implemented) {
                       return implemented.message == message && implemented.field == field.name();
                     });
}

absl::Status CheckEnum(const FieldDescriptor& field, int number, const std::string& path) {
  const google::protobuf::EnumDescriptor& type = *field.enum_type();
  if (type.FindValueByNumber(number) != nullptr) return absl::OkStatus();
  std::vector<absl::string_view> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.emplace_back(type.value(i)->name());
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, " must be one of ", absl::StrJoin(names, ", "), ", got ", number));
}

absl::Status CheckMessage(const Message& message, const std::string& prefix) {
  const Reflection& reflection = *message.GetReflection();
  const auto& unknown = reflection.GetUnknownFields(message);
  if (!unknown.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("this server knows no field number ",
                                                   unknown.field(0).number(), " of ",
                                                   message.GetDescriptor()->name()));
  }
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string path = absl::StrCat(prefix, field->name());
    if (!IsImplemented(*field)) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is not supported by this server yet"));
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM && !field->is_repeated()) {
      absl::Status status = CheckEnum(*field, reflection.GetEnumValue(message, field), path);
      if (!status.ok()) return status;
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      absl::Status status =
          field->is_repeated()
              ? CheckMessage(reflection.GetRepeatedMessage(message, field, i),
                             absl::StrCat(path, "[", i, "]."))
              : CheckMessage(reflection.GetMessage(message, field), absl::StrCat(path, "."));
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFields(const Message& message) { return CheckMessage(message, ""); }

std::vector<std::string> ImplementedFeatures() {
  std::vector<std::string> features;
  for (const absl::string_view rpc : kImplementedRpcs) features.emplace_back(rpc);
  for (const ImplementedField& implemented : kImplementedFields) {
    if (implemented.message == "SamplingParams" || implemented.message == "OutputOptions") {
      features.emplace_back(implemented.field);
    }
  }
  return features;
}

}  // namespace token_sampler
