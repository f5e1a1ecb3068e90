#include "server/codec/field_check.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The fields of a type that can have unknown values or fields in them.
struct Openings {
  struct Inner {
    const FieldDescriptor* field;
    const Openings* type;
  };

  std::vector<const FieldDescriptor*> enums;
  std::vector<Inner> messages;
};

using OpeningsOfTypes = absl::flat_hash_map<const Descriptor*, const Openings*>;

// Ends, because no message of a contract contains itself.
const Openings* AddOpenings(const Descriptor& type, OpeningsOfTypes& known) {
  if (const auto found = known.find(&type); found != known.end()) return found->second;
  auto* const openings = new Openings;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM && !field.is_repeated()) {
      openings->enums.push_back(&field);
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      openings->messages.push_back({&field, AddOpenings(*field.message_type(), known)});
    }
  }
  return known[&type] = openings;
}

void AddOpenings(const FileDescriptor& file, OpeningsOfTypes& known) {
  for (int i = 0; i < file.dependency_count(); ++i) AddOpenings(*file.dependency(i), known);
  for (int i = 0; i < file.message_type_count(); ++i) AddOpenings(*file.message_type(i), known);
}

// Returns the openings of every message of this server's contract. They live as long as the
// program.
const OpeningsOfTypes& AllOpenings() {
  static const OpeningsOfTypes* const all = [] {
    auto* const known = new OpeningsOfTypes;
    AddOpenings(*v1::SampleRequest::descriptor()->file(), *known);
    return known;
  }();
  return *all;
}

// The place of a message inside the one that was received.
struct Place {
  const Place* outer;
  const FieldDescriptor* field;
  int index;  // of a repeated field
};

std::string PathTo(const Place* place) {
  if (place == nullptr) return "";
  const std::string path = absl::StrCat(PathTo(place->outer), place->field->name());
  return place->field->is_repeated() ? absl::StrCat(path, "[", place->index, "].")
                                     : absl::StrCat(path, ".");
}

absl::Status UnknownValue(const FieldDescriptor& field, int number, const Place* place) {
  const google::protobuf::EnumDescriptor& type = *field.enum_type();
  std::vector<absl::string_view> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.emplace_back(type.value(i)->name());
  }
  return Invalid(PathTo(place), field.name(), " must be one of ", absl::StrJoin(names, ", "),
                 ", got ", number);
}

// Runs for every call, so it makes no path unless there is an error.
absl::Status Check(const Message& message, const Openings& type, const Place* place) {
  const Reflection& reflection = *message.GetReflection();
  const auto& unknown = reflection.GetUnknownFields(message);
  if (!unknown.empty()) {
    return Invalid("this server does not know field number ", unknown.field(0).number(), " of ",
                   message.GetDescriptor()->name());
  }
  for (const FieldDescriptor* field : type.enums) {
    if (!reflection.HasField(message, field)) continue;
    const int number = reflection.GetEnumValue(message, field);
    if (field->enum_type()->FindValueByNumber(number) == nullptr) {
      return UnknownValue(*field, number, place);
    }
  }
  for (const Openings::Inner& inner : type.messages) {
    const FieldDescriptor* const field = inner.field;
    const bool repeated = field->is_repeated();
    const int count = repeated ? reflection.FieldSize(message, field)
                               : static_cast<int>(reflection.HasField(message, field));
    for (int i = 0; i < count; ++i) {
      const Place at = {.outer = place, .field = field, .index = i};
      RETURN_IF_ERROR(Check(repeated ? reflection.GetRepeatedMessage(message, field, i)
                                     : reflection.GetMessage(message, field),
                            *inner.type, &at));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckFields(const Message& message) {
  return Check(message, *AllOpenings().at(message.GetDescriptor()), nullptr);
}

std::vector<std::string> ImplementedFeatures() {
  std::vector<std::string> features;
  const auto& service = *v1::SampleRequest::descriptor()->file()->service(0);
  for (int i = 0; i < service.method_count(); ++i) features.push_back(service.method(i)->name());
  for (const Descriptor* type :
       {v1::SamplingParams::descriptor(), v1::OutputOptions::descriptor()}) {
    for (int i = 0; i < type->field_count(); ++i) features.push_back(type->field(i)->name());
  }
  return features;
}

}  // namespace token_sampler
