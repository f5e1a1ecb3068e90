#include "server/kserve/translation/proto_field.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"

namespace token_sampler {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The field, and the message that holds it.
struct Place {
  Message* message;
  const FieldDescriptor* field;
};

std::optional<Place> FindPlace(Message& message, absl::string_view name) {
  const size_t dot = name.find('.');
  const std::string first(name.substr(0, dot));
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(first);
  if (field == nullptr) return std::nullopt;
  const bool nested =
      field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_repeated();
  if (dot == absl::string_view::npos) {
    return nested ? std::nullopt : std::make_optional(Place{&message, field});
  }
  if (!nested) return std::nullopt;
  return FindPlace(*message.GetReflection()->MutableMessage(&message, field), name.substr(dot + 1));
}

// Integers for which 0 means off, where engines use -1.
constexpr absl::string_view kZeroIsOff[] = {"min_tokens", "no_repeat_ngram_size", "top_k",
                                            "top_logprobs"};

template <typename Integer>
absl::StatusOr<Integer> ToInteger(const FieldDescriptor& field, const FieldValue& value) {
  constexpr Integer kMin = std::numeric_limits<Integer>::min();
  constexpr Integer kMax = std::numeric_limits<Integer>::max();
  const std::optional<absl::int128> integer = AsInteger(value);
  if (integer && *integer >= kMin && *integer <= kMax) return static_cast<Integer>(*integer);
  const bool zero_is_off =
      std::find(std::begin(kZeroIsOff), std::end(kZeroIsOff), field.name()) != std::end(kZeroIsOff);
  return Invalid("must be an integer in [", kMin, ", ", kMax, "]",
                 zero_is_off ? ", where 0 is off" : "", ", got ", ToString(value));
}

absl::StatusOr<double> ToDouble(const FieldValue& value) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* integer = std::get_if<absl::int128>(&value)) {
    return static_cast<double>(*integer);
  }
  return Invalid("must be a number, got ", ToString(value));
}

absl::StatusOr<float> ToFloat(const FieldValue& value) {
  ASSIGN_OR_RETURN(const double number, ToDouble(value));
  return static_cast<float>(number);
}

// The prefix of the names of an enum's values, such as "STAGE_PRESET_": what precedes UNSPECIFIED
// in the name of value 0.
absl::string_view Prefix(const EnumDescriptor& type) {
  absl::string_view zero = type.FindValueByNumber(0)->name();
  zero.remove_suffix(absl::string_view("UNSPECIFIED").size());
  return zero;
}

absl::StatusOr<int> ToEnum(const EnumDescriptor& type, const FieldValue& value) {
  const absl::string_view prefix = Prefix(type);
  std::vector<absl::string_view> choices;
  for (int i = 0; i < type.value_count(); ++i) {
    const absl::string_view full = type.value(i)->name();
    const absl::string_view choice = full.substr(prefix.size());
    if (type.value(i)->number() == 0) continue;
    choices.push_back(choice);
    const auto* text = std::get_if<std::string>(&value);
    if (text != nullptr && (*text == full || *text == choice)) return type.value(i)->number();
  }
  return Invalid("must be one of ", absl::StrJoin(choices, ", "), ", got ", ToString(value));
}

// Sets the field, or appends to it if it is a list.
absl::Status Store(const Place& place, const FieldValue& value) {
  Message* message = place.message;
  const FieldDescriptor* field = place.field;
  const Reflection& reflection = *message->GetReflection();
  const bool list = field->is_repeated();
  const auto store = [&](const auto& converted, auto set, auto add) -> absl::Status {
    if (!converted.ok()) return converted.status();
    (reflection.*(list ? add : set))(message, field, *converted);
    return absl::OkStatus();
  };
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (const auto* boolean = std::get_if<bool>(&value)) {
        return store(absl::StatusOr<bool>(*boolean), &Reflection::SetBool, &Reflection::AddBool);
      }
      return Invalid("must be a boolean, got ", ToString(value));
    case FieldDescriptor::CPPTYPE_UINT32:
      return store(ToInteger<uint32_t>(*field, value), &Reflection::SetUInt32,
                   &Reflection::AddUInt32);
    case FieldDescriptor::CPPTYPE_INT32:
      return store(ToInteger<int32_t>(*field, value), &Reflection::SetInt32, &Reflection::AddInt32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return store(ToInteger<uint64_t>(*field, value), &Reflection::SetUInt64,
                   &Reflection::AddUInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return store(ToDouble(value), &Reflection::SetDouble, &Reflection::AddDouble);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return store(ToFloat(value), &Reflection::SetFloat, &Reflection::AddFloat);
    case FieldDescriptor::CPPTYPE_ENUM:
      return store(ToEnum(*field->enum_type(), value), &Reflection::SetEnumValue,
                   &Reflection::AddEnumValue);
    default:
      return absl::NotFoundError(absl::StrCat("no field ", field->name()));
  }
}

void AddNamedFields(const Descriptor& message, const std::string& prefix,
                    std::vector<NamedField>& fields) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor* field = message.field(i);
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    const std::string name = prefix + field->name();
    if (is_message && !field->is_repeated()) {
      AddNamedFields(*field->message_type(), name + ".", fields);
    } else if (!is_message) {
      fields.push_back({name, field});
    }
  }
}

}  // namespace

std::vector<NamedField> NamedFields(const Descriptor& message) {
  std::vector<NamedField> fields;
  AddNamedFields(message, "", fields);
  return fields;
}

absl::Status SetField(Message& message, absl::string_view name, const FieldValue& value) {
  const std::optional<Place> place = FindPlace(message, name);
  if (!place || place->field->is_repeated()) {
    return absl::NotFoundError(absl::StrCat("no field ", name));
  }
  return Store(*place, value);
}

absl::Status AddToField(Message& message, absl::string_view name, const FieldValue& value) {
  const std::optional<Place> place = FindPlace(message, name);
  if (!place || !place->field->is_repeated()) {
    return absl::NotFoundError(absl::StrCat("no list ", name));
  }
  return Store(*place, value);
}

std::optional<FieldValue> ParameterValue(const inference::InferParameter& parameter) {
  switch (parameter.parameter_choice_case()) {
    case inference::InferParameter::kBoolParam:
      return parameter.bool_param();
    case inference::InferParameter::kInt64Param:
      return absl::int128(parameter.int64_param());
    case inference::InferParameter::kUint64Param:
      return absl::int128(parameter.uint64_param());
    case inference::InferParameter::kDoubleParam:
      return parameter.double_param();
    case inference::InferParameter::kStringParam:
      return parameter.string_param();
    case inference::InferParameter::PARAMETER_CHOICE_NOT_SET:
      break;
  }
  return std::nullopt;
}

std::optional<absl::int128> AsInteger(const FieldValue& value) {
  if (const auto* integer = std::get_if<absl::int128>(&value)) return *integer;
  const auto* number = std::get_if<double>(&value);
  constexpr double kBound = 18446744073709551616.0;  // 2^64: no field holds as much
  if (number == nullptr || !(std::abs(*number) < kBound) || std::trunc(*number) != *number) {
    return std::nullopt;
  }
  return absl::int128(*number);
}

absl::Status WithField(absl::string_view name, const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  return Invalid(name, " ", status.message());
}

std::string ToString(const FieldValue& value) {
  if (const auto* boolean = std::get_if<bool>(&value)) return *boolean ? "true" : "false";
  if (const auto* number = std::get_if<double>(&value)) return absl::StrCat(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return absl::StrCat("\"", *text, "\"");
  std::ostringstream integer;
  integer << std::get<absl::int128>(value);
  return integer.str();
}

}  // namespace token_sampler
