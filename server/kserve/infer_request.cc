#include "server/kserve/infer_request.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/invalid_argument.h"
#include "server/kserve/field_value.h"
#include "server/kserve/infer_tensor.h"

namespace token_sampler {
namespace {

// Tritonclient's C++ library sends this with every request; it asks for something of models that
// answer one request several times.
constexpr char kEmptyFinalResponse[] = "triton_enable_empty_final_response";
constexpr char kTimeout[] = "timeout";
constexpr char kPriority[] = "priority";
constexpr char kTopLogprobs[] = "top_logprobs";
constexpr char kGumbelSoftmax[] = "gumbel_softmax";
constexpr char kLogprobMode[] = "logprob_mode";
constexpr char kRankMode[] = "rank_mode";
constexpr absl::string_view kReserved[] = {
    kEmptyFinalResponse, kTimeout,     kPriority, kTopLogprobs,
    kGumbelSoftmax,      kLogprobMode, kRankMode};

absl::Status CheckUnknownFields(const google::protobuf::Message& message) {
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  if (unknown.empty()) return absl::OkStatus();
  return Invalid("this server knows no field number ", unknown.field(0).number(), " of ",
                 message.GetDescriptor()->name());
}

absl::Status CheckKnown(const inference::ModelInferRequest& request) {
  absl::Status status = CheckUnknownFields(request);
  for (const auto& input : request.inputs()) status.Update(CheckUnknownFields(input));
  for (const auto& output : request.outputs()) status.Update(CheckUnknownFields(output));
  return status;
}

v1::DataType ToNative(absl::string_view datatype) {
  if (datatype == "FP32") return v1::DATA_TYPE_FLOAT32;
  if (datatype == "FP16") return v1::DATA_TYPE_FLOAT16;
  if (datatype == "BF16") return v1::DATA_TYPE_BFLOAT16;
  if (datatype == "FP64") return v1::DATA_TYPE_FLOAT64;
  return v1::DATA_TYPE_UNSPECIFIED;
}

// `logits` or `weights` as the native tensor. Rows are bounded here, because other inputs make
// messages of their own for each.
absl::Status TranslateMatrix(const RequestLimits& limits, std::vector<InferTensor>& tensors,
                             v1::SampleRequest& request) {
  InferTensor* matrix = nullptr;
  for (InferTensor& tensor : tensors) {
    if (!IsMatrix(tensor.name)) continue;
    if (matrix != nullptr) return Invalid("inputs must not hold both logits and weights");
    matrix = &tensor;
  }
  if (matrix == nullptr) return Invalid("inputs must hold logits or weights");
  const std::string field = absl::StrCat("inputs.", matrix->name);
  const v1::DataType dtype = ToNative(matrix->datatype);
  if (dtype == v1::DATA_TYPE_UNSPECIFIED) {
    return Invalid(field, ".datatype must be FP32, FP16, BF16 or FP64, got ", matrix->datatype);
  }
  const std::vector<int64_t>& shape = matrix->shape;
  if (shape.size() != 2 || shape[0] < 1 || shape[0] > limits.max_rows || shape[1] < 1 ||
      shape[1] > limits.max_vocab) {
    return Invalid(field, ".shape must be [rows, vocab], at most [", limits.max_rows, ", ",
                   limits.max_vocab, "], got [", absl::StrJoin(shape, ", "), "]");
  }
  if (matrix->name == "weights") request.set_input_kind(v1::INPUT_KIND_WEIGHTS);
  v1::Tensor& native = *request.mutable_tensor();
  native.set_dtype(dtype);
  native.set_rows(static_cast<uint32_t>(shape[0]));
  native.set_vocab(static_cast<uint32_t>(shape[1]));
  if (matrix->shared.has_value()) {
    native.mutable_region()->set_name(matrix->shared->region);
    native.mutable_region()->set_offset(matrix->shared->offset);
  } else {
    native.set_data(std::move(matrix->data));
  }
  return absl::OkStatus();
}

// The input's columns, or an error where its shape is not that of the field.
absl::Status CheckShape(const InferTensor& tensor, const ModelInputField& field, uint32_t rows,
                        size_t& columns) {
  const std::vector<int64_t>& shape = tensor.shape;
  const bool vector = shape.size() == 1 && !field.list;
  const bool matrix = shape.size() == 2 && (field.list || shape[1] == 1);
  if ((!vector && !matrix) || shape[0] != int64_t{rows}) {
    return Invalid("inputs.", tensor.name, ".shape must be [", rows, ", ", field.list ? "n" : "1",
                   "]: one entry per row");
  }
  columns = matrix ? static_cast<size_t>(shape[1]) : 1;
  return absl::OkStatus();
}

// Whether the element only fills the row of a list, or stands for a state that is not set.
bool IsPadding(const FieldValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return text->empty();
  if (const auto* number = std::get_if<double>(&value)) return std::isnan(*number);
  const auto* integer = std::get_if<absl::int128>(&value);
  return integer != nullptr && *integer == -1;
}

// Sets the field in the message of each row.
template <typename MessageOfRow>
absl::Status SetPerRow(const InferTensor& tensor, absl::string_view name,
                       const ModelInputField& field, size_t columns, bool skip_padding,
                       const MessageOfRow& message_of_row) {
  size_t index = 0;
  return ReadValues(tensor, [&](const FieldValue& value) {
    const size_t row = index++ / columns;
    if (skip_padding && IsPadding(value)) return absl::OkStatus();
    google::protobuf::Message& message = *message_of_row(static_cast<int>(row));
    return field.list ? AddToField(message, name, value) : SetField(message, name, value);
  });
}

// Calls take(index, id) with each element, where the id is of a token or -1.
template <typename Take>
absl::Status ReadIds(const InferTensor& tensor, const Take& take) {
  size_t index = 0;
  absl::Status range;
  absl::Status status = ReadIntegers(tensor, [&](int64_t id) {
    if (id < -1 || id > std::numeric_limits<uint32_t>::max()) {
      range.Update(
          Invalid("inputs.", tensor.name, " must hold token ids, or -1 for none, got ", id));
    } else {
      take(index, id);
    }
    ++index;
  });
  status.Update(range);
  return status;
}

absl::Status TranslateHistory(const InferTensor& tensor, uint32_t rows, size_t columns,
                              v1::IdLists& lists) {
  std::vector<uint32_t> lengths(rows);
  absl::Status status = ReadIds(tensor, [&](size_t index, int64_t id) {
    if (id == -1) return;
    ++lengths[index / columns];
    lists.add_token_ids(static_cast<uint32_t>(id));
  });
  lists.mutable_lengths()->Add(lengths.begin(), lengths.end());
  return status;
}

// Sequences of ids, each behind a -1 or at the start of its row.
absl::Status TranslateSequences(const InferTensor& tensor, size_t columns,
                                v1::SampleRequest& request) {
  v1::TokenSequence* sequence = nullptr;
  return ReadIds(tensor, [&](size_t index, int64_t id) {
    if (id == -1 || index % columns == 0) sequence = nullptr;
    if (id == -1) return;
    if (sequence == nullptr) {
      v1::SamplingParams& params = *request.mutable_params(static_cast<int>(index / columns));
      sequence = tensor.name == "bad_words" ? params.add_bad_words()
                                            : params.mutable_dry()->add_breakers();
    }
    sequence->add_token_ids(static_cast<uint32_t>(id));
  });
}

// One input besides the matrix.
absl::Status TranslateInput(InferTensor& tensor, v1::SampleRequest& request) {
  const ModelInputField* field = FindInputField(tensor.name);  // TakeInputs knows no other names
  const uint32_t rows = request.tensor().rows();
  size_t columns = 0;
  if (absl::Status status = CheckShape(tensor, *field, rows, columns); !status.ok()) return status;
  switch (field->role) {
    case InputRole::kParams:
      return SetPerRow(tensor, field->name, *field, columns, field->list,
                       [&](int row) { return request.mutable_params(row); });
    case InputRole::kSequences:
      return TranslateSequences(tensor, columns, request);
    case InputRole::kKey:
      return ReadValues(tensor, [&](const FieldValue& value) {
        return AddToField(*request.mutable_keys(), field->name + "s", value);
      });
    case InputRole::kHistory: {
      v1::Histories& histories = *request.mutable_histories();
      return TranslateHistory(tensor, rows, columns,
                              tensor.name == "prompt_ids" ? *histories.mutable_prompt_ids()
                                                          : *histories.mutable_output_ids());
    }
    case InputRole::kState:
      while (request.states_size() < static_cast<int>(rows)) request.add_states();
      return SetPerRow(tensor, absl::string_view(field->name).substr(sizeof("state.") - 1), *field,
                       columns, true, [&](int row) { return request.mutable_states(row); });
    case InputRole::kBitmask:
      break;
  }
  if (tensor.datatype != "INT32" && tensor.datatype != "UINT32") {
    return Invalid("inputs.bitmask.datatype must be INT32 or UINT32, got ", tensor.datatype);
  }
  request.mutable_bitmask()->set_words(std::move(tensor.data));
  return absl::OkStatus();
}

absl::Status ToValue(absl::string_view field, const inference::InferParameter& parameter,
                     FieldValue& value) {
  switch (parameter.parameter_choice_case()) {
    case inference::InferParameter::kBoolParam:
      value = parameter.bool_param();
      return absl::OkStatus();
    case inference::InferParameter::kInt64Param:
      value = absl::int128(parameter.int64_param());
      return absl::OkStatus();
    case inference::InferParameter::kUint64Param:
      value = absl::int128(parameter.uint64_param());
      return absl::OkStatus();
    case inference::InferParameter::kDoubleParam:
      value = parameter.double_param();
      return absl::OkStatus();
    case inference::InferParameter::kStringParam:
      value = parameter.string_param();
      return absl::OkStatus();
    case inference::InferParameter::PARAMETER_CHOICE_NOT_SET:
      break;
  }
  return Invalid(field, " must have a value");
}

absl::Status TranslateTimeout(const FieldValue& value, InferCall& call) {
  const auto* integer = std::get_if<absl::int128>(&value);
  constexpr int64_t kMaxTimeoutUs = int64_t{1} << 50;  // 35 years: added to a date it stays one
  if (integer == nullptr || *integer < 0) {
    return Invalid("parameters.timeout must be microseconds, 0 or more, got ", ToString(value));
  }
  if (*integer > 0) {
    call.timeout = std::chrono::microseconds(
        static_cast<int64_t>(std::min<absl::int128>(*integer, kMaxTimeoutUs)));
  }
  return absl::OkStatus();
}

// 0 is to Triton as if it were not set.
absl::Status CheckPriority(const FieldValue& value) {
  const auto* integer = std::get_if<absl::int128>(&value);
  if (integer != nullptr && *integer == 0) return absl::OkStatus();
  return Invalid("parameters.priority must be 0: calls are sampled in the order they come in, got ",
                 ToString(value));
}

// A parameter of the request. Those of sampling go into `params`.
absl::Status TranslateParameter(const std::string& name, const inference::InferParameter& parameter,
                                InferCall& call, v1::SamplingParams& params) {
  if (name == kEmptyFinalResponse) return absl::OkStatus();
  const std::string path = absl::StrCat("parameters.", name);
  FieldValue value;
  if (absl::Status status = ToValue(path, parameter, value); !status.ok()) return status;
  if (name == kTimeout) return TranslateTimeout(value, call);
  if (name == kPriority) return CheckPriority(value);
  absl::Status status;
  if (name == "seed" || name == "step" || name == "stream") {
    status = AddToField(*call.request.mutable_keys(), name + "s", value);
  } else if (name == kTopLogprobs || name == kGumbelSoftmax || name == kLogprobMode ||
             name == kRankMode) {
    status = SetField(*call.request.mutable_outputs(), name, value);
  } else {
    status = SetField(params, name, value);
  }
  if (absl::IsNotFound(status)) return Invalid(path, " is not supported by this server");
  return status;
}

bool HasTensor(const std::vector<InferTensor>& tensors, absl::string_view name) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const InferTensor& tensor) { return tensor.name == name; });
}

absl::Status TranslateParameters(const inference::ModelInferRequest& request,
                                 const std::vector<InferTensor>& tensors, InferCall& call) {
  v1::SamplingParams params;
  for (const auto& [name, parameter] : request.parameters()) {
    absl::Status status = TranslateParameter(name, parameter, call, params);
    if (!status.ok()) return status;
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

// Where in shared memory the caller wants the output, if that is what its parameters say.
absl::Status PlaceOutput(
    const RequestLimits& limits,
    const google::protobuf::Map<std::string, inference::InferParameter>& parameters,
    InferOutput& output) {
  const std::string name = absl::StrCat("outputs.", output.field->name);
  absl::Status status = ReadSharedPlace(name, parameters, output.place);
  if (!status.ok() || !output.place.has_value()) return status;
  absl::StatusOr<std::shared_ptr<const Region>> region =
      FindSharedPlace(name, *output.place, limits);
  if (!region.ok()) return region.status();
  output.region = *std::move(region);
  return absl::OkStatus();
}

absl::Status TranslateOutputs(const RequestLimits& limits,
                              const inference::ModelInferRequest& request, InferCall& call) {
  for (const auto& requested : request.outputs()) {
    InferOutput output = {.field = FindOutputField(requested.name())};
    if (output.field == nullptr) {
      return Invalid("outputs: the model has no output ", requested.name());
    }
    if (std::any_of(call.outputs.begin(), call.outputs.end(),
                    [&](const InferOutput& other) { return other.field == output.field; })) {
      return Invalid("outputs must name ", requested.name(), " once");
    }
    absl::Status status = PlaceOutput(limits, requested.parameters(), output);
    if (!status.ok()) return status;
    call.outputs.push_back(std::move(output));
  }
  if (call.outputs.empty()) {
    for (const ModelOutputField& field : OutputFields()) {
      if (field.by_default) call.outputs.push_back({.field = &field});
    }
  }
  v1::OutputOptions& options = *call.request.mutable_outputs();
  for (const InferOutput& output : call.outputs) {
    const ModelOutputField* field = output.field;
    if (field->option.empty()) continue;
    if (field->option == kTopLogprobs) {
      if (!options.has_top_logprobs()) options.set_top_logprobs(1);
      continue;
    }
    if (field->option == kGumbelSoftmax) {
      if (!options.has_gumbel_softmax()) options.set_gumbel_softmax(1.0);
      continue;
    }
    // The table of outputs names boolean fields alone.
    if (absl::Status status = SetField(options, field->option, true); !status.ok()) return status;
  }
  return absl::OkStatus();
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

absl::Status TranslateRequest(const RequestLimits& limits, inference::ModelInferRequest& request,
                              InferCall& call) {
  call.id = request.id();
  absl::Status status = CheckModel(request.model_name(), request.model_version());
  status.Update(CheckKnown(request));
  if (!status.ok()) return status;
  std::vector<InferTensor> tensors;
  if (status = TakeInputs(limits, request, tensors); !status.ok()) return status;
  if (status = TranslateMatrix(limits, tensors, call.request); !status.ok()) return status;
  if (status = TranslateParameters(request, tensors, call); !status.ok()) return status;
  for (InferTensor& tensor : tensors) {
    if (IsMatrix(tensor.name)) continue;
    call.input_bytes += tensor.data.size();
    if (status = TranslateInput(tensor, call.request); !status.ok()) return status;
  }
  return TranslateOutputs(limits, request, call);
}

}  // namespace token_sampler
