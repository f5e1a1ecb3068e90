// Sets fields of native messages by name, such as "top_p" or "xtc.threshold", from requests of
// another protocol.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_PROTO_FIELD_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_PROTO_FIELD_H_

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

// A field of a message, or of a message nested in it that is not repeated.
struct NamedField {
  std::string name;  // with the names of the fields around it: "xtc.threshold"
  const google::protobuf::FieldDescriptor* field;
};

// All fields that are no messages (numbers, booleans, enums, or lists of them), also those of
// nested messages.
std::vector<NamedField> NamedFields(const google::protobuf::Descriptor& message);

// The value of the parameter, or nullopt when it has none.
std::optional<FieldValue> ParameterValue(const inference::InferParameter& parameter);

// The value as an integer, if it is one or a whole floating-point number: many clients have no
// other numbers. Otherwise nullopt.
std::optional<absl::int128> AsInteger(const FieldValue& value);

// Sets the field of this name, which must not be a list. Integers may set floating-point fields;
// integer fields take what AsInteger() accepts; enum fields take the name of a value, with or
// without the prefix that all values share. InvalidArgument states what is accepted and the value,
// but not the field, which WithField() adds: the caller may know it by another name. NotFound
// when there is no such field.
absl::Status SetField(google::protobuf::Message& message, absl::string_view name,
                      const FieldValue& value);

// Appends to the list of this name. Values and errors as in SetField().
absl::Status AddToField(google::protobuf::Message& message, absl::string_view name,
                        const FieldValue& value);

// Puts the name of the field before the message of an InvalidArgument of these functions.
absl::Status WithField(absl::string_view name, const absl::Status& status);

// The value as text, as a client would write it.
std::string ToString(const FieldValue& value);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_TRANSLATION_PROTO_FIELD_H_
