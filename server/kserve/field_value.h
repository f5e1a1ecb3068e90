// Fields of the native contract by their names, so that a request of another protocol can set them:
// "top_p", "xtc.threshold".

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_FIELD_VALUE_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_FIELD_VALUE_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "inference/grpc_inference_service.pb.h"

namespace token_sampler {

using FieldValue = std::variant<bool, absl::int128, double, std::string>;

// A field of a message or of one inside it that is not repeated.
struct NamedField {
  std::string name;  // with the names of the messages around it
  const google::protobuf::FieldDescriptor* field;
};

// Every field that holds a number, a boolean, an enum, or a list of them.
std::vector<NamedField> NamedFields(const google::protobuf::Descriptor& message);

// None when the parameter has no value.
std::optional<FieldValue> ParameterValue(const inference::InferParameter& parameter);

// An integer, or a floating-point number that is a whole one: many clients have no other numbers.
std::optional<absl::int128> AsInteger(const FieldValue& value);

// Sets the field of this name, which is not a list. An integer may set a floating-point field, and
// what AsInteger takes an integer field; an enum is set by the name of its value, with or without
// the prefix that all of its values share. InvalidArgument says what is accepted and the value, and
// leaves the name to NamedStatus: the caller may know the field by another. NotFound when there is
// no such field.
absl::Status SetField(google::protobuf::Message& message, absl::string_view name,
                      const FieldValue& value);

// Appends to the list of this name.
absl::Status AddToField(google::protobuf::Message& message, absl::string_view name,
                        const FieldValue& value);

// An InvalidArgument of these functions with the name of the field.
absl::Status NamedStatus(absl::string_view name, const absl::Status& status);

// The value as a client would write it.
std::string ToString(const FieldValue& value);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_FIELD_VALUE_H_
