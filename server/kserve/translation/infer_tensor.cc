#include "server/kserve/translation/infer_tensor.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/usage/counted.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/kserve/sampler_model.h"

namespace token_sampler {
namespace {

using Contents = inference::InferTensorContents;

constexpr struct {
  absl::string_view name;
  size_t size;
  inference::DataType config;
} kDatatypes[] = {
    {"BOOL", 1, inference::TYPE_BOOL},     {"UINT8", 1, inference::TYPE_UINT8},
    {"UINT16", 2, inference::TYPE_UINT16}, {"UINT32", 4, inference::TYPE_UINT32},
    {"UINT64", 8, inference::TYPE_UINT64}, {"INT8", 1, inference::TYPE_INT8},
    {"INT16", 2, inference::TYPE_INT16},   {"INT32", 4, inference::TYPE_INT32},
    {"INT64", 8, inference::TYPE_INT64},   {"FP16", 2, inference::TYPE_FP16},
    {"BF16", 2, inference::TYPE_BF16},     {"FP32", 4, inference::TYPE_FP32},
    {"FP64", 8, inference::TYPE_FP64},     {"BYTES", 0, inference::TYPE_STRING},
};

constexpr size_t kLengthBytes = 4;     // before each element of BYTES
constexpr size_t kMaxNameBytes = 255;  // of an element of BYTES: the name of an enum's value

// The most bytes that one call may have copied out of shared memory: as many as a message may have
// by default.
constexpr uint64_t kMaxCopiedBytes = uint64_t{1} << 28;

const auto* FindDatatype(absl::string_view name) {
  return std::find_if(std::begin(kDatatypes), std::end(kDatatypes),
                      [&](const auto& datatype) { return datatype.name == name; });
}

template <typename Element, typename Field>
void AppendElements(const Field& field, std::string& data) {
  data.reserve(static_cast<size_t>(field.size()) * sizeof(Element));
  for (const auto value : field) {
    const auto element = static_cast<Element>(value);
    data.append(reinterpret_cast<const char*>(&element), sizeof(element));
  }
}

// Converts typed contents to raw ones. Typed contents hold narrow integers in fields of 32 bits.
absl::Status FlattenContents(const Contents& contents, InferTensor& tensor) {
  const std::string& type = tensor.datatype;
  if (type == "BOOL") {
    AppendElements<uint8_t>(contents.bool_contents(), tensor.data);
  } else if (type == "INT8") {
    AppendElements<int8_t>(contents.int_contents(), tensor.data);
  } else if (type == "INT16") {
    AppendElements<int16_t>(contents.int_contents(), tensor.data);
  } else if (type == "INT32") {
    AppendElements<int32_t>(contents.int_contents(), tensor.data);
  } else if (type == "INT64") {
    AppendElements<int64_t>(contents.int64_contents(), tensor.data);
  } else if (type == "UINT8") {
    AppendElements<uint8_t>(contents.uint_contents(), tensor.data);
  } else if (type == "UINT16") {
    AppendElements<uint16_t>(contents.uint_contents(), tensor.data);
  } else if (type == "UINT32") {
    AppendElements<uint32_t>(contents.uint_contents(), tensor.data);
  } else if (type == "UINT64") {
    AppendElements<uint64_t>(contents.uint64_contents(), tensor.data);
  } else if (type == "FP32") {
    AppendElements<float>(contents.fp32_contents(), tensor.data);
  } else if (type == "FP64") {
    AppendElements<double>(contents.fp64_contents(), tensor.data);
  } else if (type == "BYTES") {
    for (const std::string& element : contents.bytes_contents()) {
      const auto length = static_cast<uint32_t>(element.size());
      tensor.data.append(reinterpret_cast<const char*>(&length), kLengthBytes);
      tensor.data.append(element);
    }
  } else {
    return Invalid("inputs.", tensor.name, ": ", type,
                   " has no typed contents; send it in raw_input_contents");
  }
  return absl::OkStatus();
}

// Calls `take` with each element of BYTES. InvalidArgument when one would end after the data.
absl::Status ReadBytes(const InferTensor& tensor,
                       const std::function<absl::Status(FieldValue)>& take) {
  absl::string_view rest = tensor.data;
  while (!rest.empty()) {
    uint32_t length = 0;
    if (rest.size() >= kLengthBytes) std::memcpy(&length, rest.data(), kLengthBytes);
    if (rest.size() < kLengthBytes || rest.size() - kLengthBytes < length) {
      return Invalid("inputs.", tensor.name,
                     ": the last element of BYTES ends after the tensor's contents");
    }
    RETURN_IF_ERROR(take(std::string(rest.substr(kLengthBytes, length))));
    rest.remove_prefix(kLengthBytes + length);
  }
  return absl::OkStatus();
}

// Calls visit(element) with each element, in its own type, until it returns an error.
template <typename Element, typename Visit>
absl::Status VisitElements(const InferTensor& tensor, const Visit& visit) {
  for (size_t i = 0; i < tensor.data.size(); i += sizeof(Element)) {
    Element element;
    std::memcpy(&element, tensor.data.data() + i, sizeof(element));
    RETURN_IF_ERROR(visit(element));
  }
  return absl::OkStatus();
}

// The same for any datatype except BYTES, FP16 and BF16. Elements of BOOL have the type Boolean.
enum class Boolean : uint8_t {};

template <typename Visit>
absl::Status VisitNumbers(const InferTensor& tensor, const Visit& visit) {
  const std::string& type = tensor.datatype;
  if (type == "BOOL") return VisitElements<Boolean>(tensor, visit);
  if (type == "INT8") return VisitElements<int8_t>(tensor, visit);
  if (type == "INT16") return VisitElements<int16_t>(tensor, visit);
  if (type == "INT32") return VisitElements<int32_t>(tensor, visit);
  if (type == "INT64") return VisitElements<int64_t>(tensor, visit);
  if (type == "UINT8") return VisitElements<uint8_t>(tensor, visit);
  if (type == "UINT16") return VisitElements<uint16_t>(tensor, visit);
  if (type == "UINT32") return VisitElements<uint32_t>(tensor, visit);
  if (type == "UINT64") return VisitElements<uint64_t>(tensor, visit);
  if (type == "FP32") return VisitElements<float>(tensor, visit);
  if (type == "FP64") return VisitElements<double>(tensor, visit);
  return Invalid("inputs.", tensor.name, " must not be of datatype ", type);
}

// Counts the elements. InvalidArgument when a dimension is negative or their product is too large.
absl::StatusOr<uint64_t> CountElements(const InferTensor& tensor) {
  constexpr uint64_t kMaxElements = uint64_t{1} << 40;
  uint64_t elements = 1;
  for (const int64_t dimension : tensor.shape) {
    const auto size = static_cast<uint64_t>(dimension);
    if (dimension < 0 || (size > 0 && elements > kMaxElements / size)) {
      return Invalid("inputs.", tensor.name, ".shape must have no negative dimension and at most ",
                     kMaxElements, " elements, got [", absl::StrJoin(tensor.shape, ", "), "]");
    }
    elements *= size;
  }
  return elements;
}

// Checks that an input of `bytes` bytes can have as many elements as its shape says.
absl::Status CheckSize(const InferTensor& tensor, uint64_t bytes) {
  ASSIGN_OR_RETURN(const uint64_t elements, CountElements(tensor));
  ASSIGN_OR_RETURN(const size_t element_size, DatatypeSize(tensor.datatype));
  const bool exact = element_size > 0;
  const uint64_t wanted = elements * (exact ? element_size : kLengthBytes + kMaxNameBytes);
  if (exact ? bytes == wanted : bytes <= wanted) return absl::OkStatus();
  return Invalid("inputs.", tensor.name, " must have ", exact ? "" : "at most ",
                 Counted(wanted, "byte"), " for [", absl::StrJoin(tensor.shape, ", "),
                 "] elements of ", tensor.datatype, ", got ", bytes);
}

// Reads a tensor out of shared memory, except logits and weights, which the sampler reads there.
// `copied` counts the bytes that the call has read in this way.
absl::Status TakeShared(const CallContext& context, InferTensor& tensor, MemoryGrant& memory,
                        uint64_t& copied) {
  const std::string field = absl::StrCat("inputs.", tensor.name);
  const SharedPlace& place = *tensor.shared;
  ASSIGN_OR_RETURN(const std::shared_ptr<const Region> region,
                   FindSharedPlace(field, place, context));
  RETURN_IF_ERROR(CheckSize(tensor, place.byte_size));
  if (IsMatrix(tensor.name)) return absl::OkStatus();
  copied += place.byte_size;
  if (copied > kMaxCopiedBytes) {
    return Invalid(field, ": inputs in shared memory may have ", kMaxCopiedBytes,
                   " bytes per call besides logits and weights, got ", copied);
  }
  RETURN_IF_ERROR(memory.Grow(place.byte_size));
  tensor.data.resize(place.byte_size);
  const absl::Status status = region->Read(place.offset, place.byte_size, tensor.data.data());
  tensor.shared.reset();
  return NamedStatus(field, status);
}

// Checks that a tensor of BYTES has as many elements as its shape says: their sizes differ.
absl::Status CheckNames(const InferTensor& tensor) {
  if (tensor.datatype != "BYTES" || tensor.shared.has_value()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const uint64_t elements, CountElements(tensor));
  uint64_t got = 0;
  RETURN_IF_ERROR(ReadBytes(tensor, [&](const FieldValue&) {
    ++got;
    return absl::OkStatus();
  }));
  if (got == elements) return absl::OkStatus();
  return Invalid("inputs.", tensor.name, " must have ", Counted(elements, "element"),
                 " of BYTES, got ", got);
}

}  // namespace

absl::StatusOr<size_t> DatatypeSize(absl::string_view datatype) {
  const auto* found = FindDatatype(datatype);
  if (found == std::end(kDatatypes)) {
    return Invalid("datatype must be one of ",
                   absl::StrJoin(kDatatypes, ", ",
                                 [](std::string* out, const auto& known) {
                                   absl::StrAppend(out, known.name);
                                 }),
                   ", got \"", datatype, "\"");
  }
  return found->size;
}

inference::DataType ConfigDatatype(absl::string_view datatype) {
  return FindDatatype(datatype)->config;
}

absl::Status TakeInputs(const CallContext& context, inference::ModelInferRequest& request,
                        MemoryGrant& memory, std::vector<InferTensor>& tensors) {
  std::set<absl::string_view> names;
  int contents = 0;  // how many inputs are not in shared memory
  for (const auto& input : request.inputs()) {
    if (!names.insert(input.name()).second) {
      return Invalid("inputs[", tensors.size(), "] has the name of another input, ", input.name());
    }
    InferTensor& tensor = tensors.emplace_back();
    tensor.name = input.name();
    tensor.datatype = input.datatype();
    tensor.shape.assign(input.shape().begin(), input.shape().end());
    RETURN_IF_ERROR(
        ReadSharedPlace(absl::StrCat("inputs.", input.name()), input.parameters(), tensor.shared));
    contents += tensor.shared.has_value() ? 0 : 1;
  }
  const int raw_contents = request.raw_input_contents_size();
  if (raw_contents > 0 && raw_contents != contents) {
    return Invalid(
        "raw_input_contents must have one entry per input that is not in shared memory (", contents,
        "), got ", raw_contents);
  }
  int next_raw = 0;
  uint64_t copied = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& input = request.inputs(static_cast<int>(i));
    InferTensor& tensor = tensors[i];
    if (input.has_contents() && (raw_contents > 0 || tensor.shared.has_value())) {
      return Invalid(
          "inputs.", input.name(), " must not have contents when ",
          raw_contents > 0 ? "raw_input_contents has entries" : "it is in shared memory");
    }
    if (tensor.shared.has_value()) {
      RETURN_IF_ERROR(TakeShared(context, tensor, memory, copied));
    } else {
      if (raw_contents > 0) {
        tensor.data = std::move(*request.mutable_raw_input_contents(next_raw++));
      } else {
        // An element takes no more bytes than in the message, in a string that grows by doubling.
        RETURN_IF_ERROR(memory.Grow(2 * input.contents().SpaceUsedLong()));
        RETURN_IF_ERROR(FlattenContents(input.contents(), tensor));
      }
      RETURN_IF_ERROR(CheckSize(tensor, tensor.data.size()));
    }
    RETURN_IF_ERROR(CheckNames(tensor));
  }
  return absl::OkStatus();
}

absl::Status ReadValues(const InferTensor& tensor,
                        const std::function<absl::Status(FieldValue)>& take) {
  if (tensor.datatype == "BYTES") return ReadBytes(tensor, take);
  return VisitNumbers(tensor, [&](const auto element) -> absl::Status {
    using Element = std::decay_t<decltype(element)>;
    if constexpr (std::is_same_v<Element, Boolean>) {
      return take(element != Boolean{0});
    } else if constexpr (std::is_floating_point_v<Element>) {
      return take(double{element});
    } else {
      return take(absl::int128(element));
    }
  });
}

absl::Status ReadIntegers(const InferTensor& tensor, const std::function<void(int64_t)>& take) {
  return VisitNumbers(tensor, [&](const auto element) -> absl::Status {
    using Element = std::decay_t<decltype(element)>;
    if constexpr (std::is_integral_v<Element>) {
      if (!std::in_range<int64_t>(element)) {
        return Invalid("inputs.", tensor.name, " must be below 2^63, got ", element);
      }
      take(static_cast<int64_t>(element));
      return absl::OkStatus();
    } else if constexpr (std::is_floating_point_v<Element>) {
      const std::optional<absl::int128> integer = AsInteger(double{element});
      if (!integer || *integer > std::numeric_limits<int64_t>::max() ||
          *integer < std::numeric_limits<int64_t>::min()) {
        return Invalid("inputs.", tensor.name, " must hold integers below 2^63, got ", element);
      }
      take(static_cast<int64_t>(*integer));
      return absl::OkStatus();
    } else {
      return Invalid("inputs.", tensor.name, " must be of an integer datatype, got ",
                     tensor.datatype);
    }
  });
}

}  // namespace token_sampler
