// Fields of the native contract by their names, so that a request of another protocol can set them:
// "top_p", "xtc.threshold".

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_FIELD_VALUE_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_FIELD_VALUE_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>
#include <variant>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace token_sampler {

using FieldValue = std::variant<bool, absl::int128, double, std::string>;

// A field of a message or of one inside it that is not repeated.
struct NamedField {
  std::string name;  // with the names of the messages around it
  const google::protobuf::FieldDescriptor* field;
};

// Every field that holds a number, a boolean, an enum, or a list of them.
std::vector<NamedField> NamedFields(const google::protobuf::Descriptor& message);

// Sets the field of this name, which is not a list. An integer may set a floating-point field; an
// enum is set by the name of its value, with or without the prefix that all of its values share.
// InvalidArgument names field, value and what is accepted; NotFound when there is no such field.
absl::Status SetField(google::protobuf::Message& message, absl::string_view name,
                      const FieldValue& value);

// Appends to the list of this name.
absl::Status AddToField(google::protobuf::Message& message, absl::string_view name,
                        const FieldValue& value);

// The value as a client would write it.
std::string ToString(const FieldValue& value);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_FIELD_VALUE_H_
