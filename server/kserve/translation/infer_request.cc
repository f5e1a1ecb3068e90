#include "server/kserve/translation/infer_request.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/usage/nearest_name.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/kserve/translation/infer_inputs.h"
#include "server/kserve/translation/infer_tensor.h"
#include "server/kserve/translation/proto_field.h"

namespace token_sampler {
namespace {

// Tritonclient's C++ library sends this with every request. It only concerns models that answer one
// request several times.
constexpr char kEmptyFinalResponse[] = "triton_enable_empty_final_response";
constexpr char kTimeout[] = "timeout";
constexpr char kPriority[] = "priority";
constexpr char kTopLogprobs[] = "top_logprobs";
constexpr char kGumbelSoftmax[] = "gumbel_softmax";
constexpr char kLogprobMode[] = "logprob_mode";
constexpr char kRankMode[] = "rank_mode";
constexpr char kSkipUnknownIds[] = "skip_unknown_ids";
constexpr absl::string_view kReserved[] = {kEmptyFinalResponse, kTimeout,       kPriority,
                                           kTopLogprobs,        kGumbelSoftmax, kLogprobMode,
                                           kRankMode,           kSkipUnknownIds};

absl::Status CheckUnknownFields(const google::protobuf::Message& message) {
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  if (unknown.empty()) return absl::OkStatus();
  return Invalid("this server does not know field number ", unknown.field(0).number(), " of ",
                 message.GetDescriptor()->name());
}

absl::Status CheckKnown(const inference::ModelInferRequest& request) {
  RETURN_IF_ERROR(CheckUnknownFields(request));
  for (const auto& input : request.inputs()) RETURN_IF_ERROR(CheckUnknownFields(input));
  for (const auto& output : request.outputs()) RETURN_IF_ERROR(CheckUnknownFields(output));
  return absl::OkStatus();
}

absl::Status TranslateTimeout(const FieldValue& value, InferCall& call) {
  const std::optional<absl::int128> integer = AsInteger(value);
  constexpr int64_t kMaxTimeoutUs = int64_t{1} << 50;  // 35 years: a date plus it is one
  if (!integer || *integer < 0) {
    return Invalid("parameters.timeout must be microseconds, 0 or more, got ", ToString(value));
  }
  if (*integer > 0) {
    call.timeout = std::chrono::microseconds(
        static_cast<int64_t>(std::min<absl::int128>(*integer, kMaxTimeoutUs)));
  }
  return absl::OkStatus();
}

// As in Triton, level 1 is the most urgent, and 0 means that no priority is set.
absl::Status TranslatePriority(const FieldValue& value, InferCall& call) {
  const std::optional<absl::int128> level = AsInteger(value);
  if (!level || *level < 0 || *level > kPriorityLevels) {
    return Invalid("parameters.priority must be in [1, ", kPriorityLevels,
                   "], of which 1 is the most urgent, or 0, which is as ", kPriorityLevels,
                   ", got ", ToString(value));
  }
  if (*level > 0) call.priority = kPriorityLevels - static_cast<uint32_t>(*level);
  return absl::OkStatus();
}

absl::Status CheckInputNames(const inference::ModelInferRequest& request) {
  for (const auto& input : request.inputs()) {
    const std::string& name = input.name();
    if (IsMatrix(name) || FindInputField(name) != nullptr) continue;
    const bool parameter =
        std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved);
    if (parameter) return Invalid("inputs: the model has no input ", name, ": it is a parameter");
    std::vector<std::string> known = {"logits", "weights"};
    for (const ModelInputField& field : InputFields()) known.push_back(field.name);
    return Invalid("inputs: the model has no input ", name, DidYouMean(name, known));
  }
  return absl::OkStatus();
}

// The error for a parameter that does not exist: it says what the name may be instead.
absl::Status UnknownParameter(const std::string& name) {
  const std::string path = absl::StrCat("parameters.", name);
  const ModelInputField* field = FindInputField(name);
  if (field != nullptr && field->list) {
    return Invalid(path, " must be an input of shape [rows, n]: it is a list");
  }
  if (field != nullptr) return Invalid(path, " must be an input of shape [rows, 1]");
  if (IsMatrix(name)) return Invalid(path, " must be an input of shape [rows, vocab]");
  if (FindOutputField(name) != nullptr) {
    return Invalid(path, " is not a parameter: name ", name, " among the outputs");
  }
  std::vector<std::string> known(std::begin(kReserved), std::end(kReserved));
  for (const ModelInputField& input : InputFields()) known.push_back(input.name);
  return Invalid(path, " is not supported by this server", DidYouMean(name, known));
}

// Translates a parameter of the request. Sampling parameters go into `params`.
absl::Status TranslateParameter(const std::string& name, const inference::InferParameter& parameter,
                                InferCall& call, v1::SamplingParams& params) {
  if (name == kEmptyFinalResponse) return absl::OkStatus();
  const std::string path = absl::StrCat("parameters.", name);
  const std::optional<FieldValue> given = ParameterValue(parameter);
  if (!given) return Invalid(path, " must have a value");
  const FieldValue& value = *given;
  if (name == kTimeout) return TranslateTimeout(value, call);
  if (name == kPriority) return TranslatePriority(value, call);
  absl::Status status;
  if (name == "seed" || name == "step" || name == "stream") {
    status = AddToField(*call.request.mutable_keys(), name + "s", value);
  } else if (name == kTopLogprobs || name == kGumbelSoftmax || name == kLogprobMode ||
             name == kRankMode) {
    status = SetField(*call.request.mutable_outputs(), name, value);
  } else if (name == kSkipUnknownIds) {
    status = SetField(*call.request.mutable_histories(), name, value);
  } else {
    status = SetField(params, name, value);
  }
  return absl::IsNotFound(status) ? UnknownParameter(name) : WithField(path, status);
}

bool HasTensor(const std::vector<InferTensor>& tensors, absl::string_view name) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const InferTensor& tensor) { return tensor.name == name; });
}

absl::Status TranslateParameters(const inference::ModelInferRequest& request,
                                 const std::vector<InferTensor>& tensors, InferCall& call) {
  v1::SamplingParams params;
  for (const auto& [name, parameter] : request.parameters()) {
    RETURN_IF_ERROR(TranslateParameter(name, parameter, call, params));
    if (HasTensor(tensors, name))
      return Invalid(name, " must not be both an input and a parameter");
  }
  const bool per_row = std::any_of(tensors.begin(), tensors.end(), [](const InferTensor& tensor) {
    const ModelInputField* field = FindInputField(tensor.name);
    return field != nullptr &&
           (field->role == InputRole::kParams || field->role == InputRole::kSequences);
  });
  const uint32_t profiles = per_row ? call.request.tensor().rows() : 1;
  for (uint32_t i = 0; i < profiles; ++i) {
    *call.request.add_params() = params;
    if (per_row) call.request.add_row_params(i);
  }
  return absl::OkStatus();
}

// An empty history means that there is none yet. The parameter skip_unknown_ids needs a history.
absl::Status FinishHistories(v1::SampleRequest& request) {
  const v1::Histories& histories = request.histories();
  if (histories.has_prompt_ids() || histories.has_output_ids()) return absl::OkStatus();
  if (histories.skip_unknown_ids()) {
    return Invalid("parameters.skip_unknown_ids needs the input prompt_ids or output_ids");
  }
  request.clear_histories();
  return absl::OkStatus();
}

// A parameter about an output is an error unless the request names that output.
absl::Status CheckOutputsWanted(const InferCall& call) {
  const auto wants = [&](absl::string_view option) {
    return std::any_of(call.outputs.begin(), call.outputs.end(),
                       [&](const InferOutput& output) { return output.field->option == option; });
  };
  const v1::OutputOptions& options = call.request.outputs();
  if (options.top_logprobs() > 0 && !wants(kTopLogprobs)) {
    return Invalid("parameters.top_logprobs needs the output top_token_ids or top_logprobs");
  }
  if (options.has_gumbel_softmax() && !wants(kGumbelSoftmax)) {
    return Invalid("parameters.gumbel_softmax needs the output gumbel_softmax");
  }
  return absl::OkStatus();
}

// Finds the place in shared memory for the output, if its parameters name one.
absl::Status PlaceOutput(
    const CallContext& context,
    const google::protobuf::Map<std::string, inference::InferParameter>& parameters,
    InferOutput& output) {
  const std::string name = absl::StrCat("outputs.", output.field->name);
  absl::Status status = ReadSharedPlace(name, parameters, output.place);
  if (!status.ok() || !output.place.has_value()) return status;
  ASSIGN_OR_RETURN(output.region, FindSharedPlace(name, *output.place, context));
  return absl::OkStatus();
}

absl::Status TranslateOutputs(const CallContext& context,
                              const inference::ModelInferRequest& request, InferCall& call) {
  for (const auto& requested : request.outputs()) {
    InferOutput output = {.field = FindOutputField(requested.name())};
    if (output.field == nullptr) {
      std::vector<std::string> known;
      for (const ModelOutputField& field : OutputFields()) known.emplace_back(field.name);
      return Invalid("outputs: the model has no output ", requested.name(),
                     DidYouMean(requested.name(), known));
    }
    if (std::any_of(call.outputs.begin(), call.outputs.end(),
                    [&](const InferOutput& other) { return other.field == output.field; })) {
      return Invalid("outputs must name ", requested.name(), " once");
    }
    RETURN_IF_ERROR(PlaceOutput(context, requested.parameters(), output));
    call.outputs.push_back(std::move(output));
  }
  if (call.outputs.empty()) {
    for (const ModelOutputField& field : OutputFields()) {
      if (field.by_default) call.outputs.push_back({.field = &field});
    }
  }
  RETURN_IF_ERROR(CheckOutputsWanted(call));
  v1::OutputOptions& options = *call.request.mutable_outputs();
  for (const InferOutput& output : call.outputs) {
    const ModelOutputField* field = output.field;
    if (field->option.empty()) continue;
    if (field->option == kTopLogprobs) {
      if (!options.has_top_logprobs()) options.set_top_logprobs(1);
      if (options.top_logprobs() > 0) continue;
      return Invalid("outputs.", field->name, " needs parameters.top_logprobs above 0, got 0");
    }
    if (field->option == kGumbelSoftmax) {
      if (!options.has_gumbel_softmax()) options.set_gumbel_softmax(1.0);
      continue;
    }
    // The table of outputs names only boolean fields.
    RETURN_IF_ERROR(SetField(options, field->option, true));
  }
  return absl::OkStatus();
}

// Grows `memory` by the bytes of the native request made of the tensors, besides the matrix.
absl::Status GrantTranslation(const CallContext& context, uint32_t rows,
                              const std::vector<InferTensor>& tensors, MemoryGrant& memory) {
  // The parameters of a row, as a message and decoded.
  constexpr uint64_t kRowBytes = 4096;
  uint64_t bytes = 0;
  for (const InferTensor& tensor : tensors) {
    if (!IsMatrix(tensor.name)) bytes += TranslatedBytes(tensor);
  }
  if (bytes > context.limits.max_parsed_bytes) {
    return Invalid("inputs other than logits and weights must take at most ",
                   context.limits.max_parsed_bytes,
                   " bytes once they are translated, these would take ", bytes);
  }
  return memory.Grow(rows * kRowBytes + bytes);
}

}  // namespace

absl::Span<const absl::string_view> ReservedParameters() { return kReserved; }

absl::Status CheckModel(absl::string_view name, absl::string_view version) {
  if (name != kModelName) {
    return absl::NotFoundError(
        absl::StrCat("no model \"", name, "\": this server's is \"", kModelName, "\""));
  }
  if (!version.empty() && version != kModelVersion) {
    return absl::NotFoundError(absl::StrCat("no version \"", version, "\" of model ", kModelName,
                                            ": this server's is \"", kModelVersion, "\""));
  }
  return absl::OkStatus();
}

absl::Status TranslateRequest(const CallContext& context, inference::ModelInferRequest& request,
                              InferCall& call) {
  call.id = request.id();
  call.names = CallerNames(request);
  RETURN_IF_ERROR(CheckModel(request.model_name(), request.model_version()));
  RETURN_IF_ERROR(CheckKnown(request));
  RETURN_IF_ERROR(CheckInputNames(request));
  std::vector<InferTensor> tensors;
  MemoryGrant& memory = call.memory.emplace(context.ledger, Account::kRequests);
  RETURN_IF_ERROR(TakeInputs(context, request, memory, tensors));
  RETURN_IF_ERROR(TranslateMatrix(context, tensors, call.request));
  RETURN_IF_ERROR(GrantTranslation(context, call.request.tensor().rows(), tensors, memory));
  RETURN_IF_ERROR(TranslateParameters(request, tensors, call));
  for (InferTensor& tensor : tensors) {
    if (IsMatrix(tensor.name)) continue;
    call.input_bytes += tensor.data.size();
    RETURN_IF_ERROR(TranslateInput(tensor, call.request));
  }
  RETURN_IF_ERROR(FinishHistories(call.request));
  return TranslateOutputs(context, request, call);
}

}  // namespace token_sampler
