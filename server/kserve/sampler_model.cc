#include "server/kserve/sampler_model.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/kserve/translation/infer_tensor.h"
#include "server/kserve/translation/proto_field.h"
#include "token_sampler/v1/token_sampler.pb.h"

namespace token_sampler {
namespace {

using google::protobuf::FieldDescriptor;

constexpr char kPlatform[] = "token_sampler";

// The datatype that describes a field best. Ids are signed because of their padding, -1.
const char* Datatype(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "BOOL";
    case FieldDescriptor::CPPTYPE_UINT32:
      return field.is_repeated() ? "INT32" : "UINT32";
    case FieldDescriptor::CPPTYPE_INT32:
      return "INT32";
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "FP32";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "FP64";
    default:
      return "BYTES";  // the names of enums
  }
}

std::vector<ModelInputField> MakeInputFields() {
  std::vector<ModelInputField> fields = {
      {"seed", "UINT64", InputRole::kKey, false},
      {"step", "UINT64", InputRole::kKey, false},
      {"stream", "UINT32", InputRole::kKey, false},
      {"prompt_ids", "INT32", InputRole::kHistory, true},
      {"output_ids", "INT32", InputRole::kHistory, true},
      {"bitmask", "INT32", InputRole::kBitmask, true},
      {"bad_words", "INT32", InputRole::kSequences, true},
      {"dry.breakers", "INT32", InputRole::kSequences, true},
  };
  for (const NamedField& named : NamedFields(*v1::SamplingParams::descriptor())) {
    fields.push_back(
        {named.name, Datatype(*named.field), InputRole::kParams, named.field->is_repeated()});
  }
  for (const NamedField& named : NamedFields(*v1::RowState::descriptor())) {
    fields.push_back(
        {absl::StrCat("state.", named.name), Datatype(*named.field), InputRole::kState, false});
  }
  return fields;
}

}  // namespace

const std::vector<ModelInputField>& InputFields() {
  static const auto& fields = *new std::vector<ModelInputField>(MakeInputFields());
  return fields;
}

const ModelInputField* FindInputField(absl::string_view name) {
  const auto found = std::find_if(InputFields().begin(), InputFields().end(),
                                  [&](const ModelInputField& field) { return field.name == name; });
  return found == InputFields().end() ? nullptr : &*found;
}

inference::ModelMetadataResponse DescribeModel() {
  inference::ModelMetadataResponse model;
  model.set_name(kModelName);
  *model.add_versions() = std::string(kModelVersion);
  model.set_platform(kPlatform);
  const auto describe = [](auto& tensor, absl::string_view name, absl::string_view datatype,
                           int64_t columns) {
    tensor.set_name(std::string(name));
    tensor.set_datatype(std::string(datatype));
    tensor.add_shape(-1);
    tensor.add_shape(columns);
  };
  describe(*model.add_inputs(), "logits", "FP32", -1);
  describe(*model.add_inputs(), "weights", "FP32", -1);
  for (const ModelInputField& field : InputFields()) {
    describe(*model.add_inputs(), field.name, field.datatype, field.list ? -1 : 1);
  }
  for (const ModelOutputField& field : OutputFields()) {
    describe(*model.add_outputs(), field.name, field.datatype,
             field.width == OutputWidth::kOne ? 1 : -1);
  }
  return model;
}

inference::ModelConfig ConfigureModel(uint32_t max_rows) {
  inference::ModelConfig config;
  config.set_name(kModelName);
  config.set_platform(kPlatform);
  config.set_backend(kPlatform);
  config.set_max_batch_size(static_cast<int32_t>(std::min<uint32_t>(max_rows, INT32_MAX)));
  config.mutable_dynamic_batching()->set_priority_levels(kPriorityLevels);
  config.mutable_dynamic_batching()->set_default_priority_level(kPriorityLevels);
  config.mutable_model_transaction_policy()->set_decoupled(false);
  const inference::ModelMetadataResponse model = DescribeModel();
  for (const auto& tensor : model.inputs()) {
    inference::ModelInput& input = *config.add_input();
    input.set_name(tensor.name());
    input.set_data_type(ConfigDatatype(tensor.datatype()));
    input.add_dims(tensor.shape(1));
    input.set_optional(tensor.name() != "logits");
  }
  for (const auto& tensor : model.outputs()) {
    inference::ModelOutput& output = *config.add_output();
    output.set_name(tensor.name());
    output.set_data_type(ConfigDatatype(tensor.datatype()));
    output.add_dims(tensor.shape(1));
  }
  return config;
}

}  // namespace token_sampler
