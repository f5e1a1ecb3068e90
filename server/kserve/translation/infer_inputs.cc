#include "server/kserve/translation/infer_inputs.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/kserve/sampler_model.h"
#include "server/kserve/translation/proto_field.h"

namespace token_sampler {
namespace {

v1::DataType ToNative(absl::string_view datatype) {
  if (datatype == "FP32") return v1::DATA_TYPE_FLOAT32;
  if (datatype == "FP16") return v1::DATA_TYPE_FLOAT16;
  if (datatype == "BF16") return v1::DATA_TYPE_BFLOAT16;
  if (datatype == "FP64") return v1::DATA_TYPE_FLOAT64;
  return v1::DATA_TYPE_UNSPECIFIED;
}

// Returns the input's columns. InvalidArgument when its shape does not fit the field.
absl::StatusOr<size_t> CountColumns(const InferTensor& tensor, const ModelInputField& field,
                                    uint32_t rows) {
  const std::vector<int64_t>& shape = tensor.shape;
  const bool vector = shape.size() == 1 && !field.list;
  const bool matrix = shape.size() == 2 && (field.list || shape[1] == 1);
  if ((!vector && !matrix) || shape[0] != int64_t{rows}) {
    return Invalid("inputs.", tensor.name, ".shape must be [", rows, ", ", field.list ? "n" : "1",
                   "]: one entry per row");
  }
  return matrix ? static_cast<size_t>(shape[1]) : 1;
}

// True for an element that only pads the row of a list, or stands for an unset state.
bool IsPadding(const FieldValue& value, const ModelInputField& field) {
  if (const auto* text = std::get_if<std::string>(&value)) return text->empty();
  if (const auto* number = std::get_if<double>(&value); number && std::isnan(*number)) return true;
  return field.datatype == "INT32" && AsInteger(value) == absl::int128(-1);
}

// Sets the field in the message of each row.
template <typename MessageOfRow>
absl::Status SetPerRow(const InferTensor& tensor, absl::string_view name,
                       const ModelInputField& field, size_t columns, bool skip_padding,
                       const MessageOfRow& message_of_row) {
  const std::string path = absl::StrCat("inputs.", tensor.name);
  size_t index = 0;
  return ReadValues(tensor, [&](const FieldValue& value) {
    const size_t row = index++ / columns;
    if (skip_padding && IsPadding(value, field)) return absl::OkStatus();
    google::protobuf::Message& message = *message_of_row(static_cast<int>(row));
    return WithField(
        path, field.list ? AddToField(message, name, value) : SetField(message, name, value));
  });
}

// Calls take(index, id) with each element, whose id is a token's or -1.
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

// Translates sequences of ids. A sequence begins at the start of a row or after a -1.
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

}  // namespace

absl::Status TranslateMatrix(const CallContext& context, std::vector<InferTensor>& tensors,
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
  if (shape.size() != 2 || shape[0] < 1 || shape[0] > context.limits.max_rows || shape[1] < 1 ||
      shape[1] > context.limits.max_vocab) {
    return Invalid(field, ".shape must be [rows, vocab], at most [", context.limits.max_rows, ", ",
                   context.limits.max_vocab, "], got [", absl::StrJoin(shape, ", "), "]");
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

uint64_t TranslatedBytes(const InferTensor& tensor) {
  const absl::StatusOr<size_t> element_size = DatatypeSize(tensor.datatype);
  if (!element_size.ok()) return 0;
  const uint64_t elements = tensor.data.size() / std::max<size_t>(*element_size, 1);
  switch (FindInputField(tensor.name)->role) {
    case InputRole::kHistory:
      return elements * 2 * sizeof(uint32_t);
    case InputRole::kKey:
      return elements * 2 * sizeof(uint64_t);
    case InputRole::kParams:
      return elements * 4 * sizeof(uint64_t);  // in the message and in the codec's copy
    case InputRole::kSequences:
      return elements * 128;  // each may be a sequence by itself
    case InputRole::kState:
      return elements * 128;
    case InputRole::kBitmask:
      break;
  }
  return 0;
}

absl::Status TranslateInput(InferTensor& tensor, v1::SampleRequest& request) {
  const ModelInputField* field = FindInputField(tensor.name);  // its name has been checked
  const uint32_t rows = request.tensor().rows();
  ASSIGN_OR_RETURN(const size_t columns, CountColumns(tensor, *field, rows));
  switch (field->role) {
    case InputRole::kParams:
      return SetPerRow(tensor, field->name, *field, columns, field->list,
                       [&](int row) { return request.mutable_params(row); });
    case InputRole::kSequences:
      return TranslateSequences(tensor, columns, request);
    case InputRole::kKey:
      return ReadValues(tensor, [&](const FieldValue& value) {
        return WithField("inputs." + field->name,
                         AddToField(*request.mutable_keys(), field->name + "s", value));
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

}  // namespace token_sampler
