#include "server/operation/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/calls/job_stream.h"
#include "server/calls/status_mapping.h"

namespace token_sampler {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;

const DescriptorPool& Pool() { return *DescriptorPool::generated_pool(); }

// Adds the file and all that it imports, each once.
void AddFile(const FileDescriptor& file, std::set<std::string>& added,
             ServerReflectionResponse& response) {
  if (!added.insert(file.name()).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.mutable_file_descriptor_response()->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), added, response);
}

void Answer(const FileDescriptor* file, ServerReflectionResponse& response) {
  if (file == nullptr) {
    response.mutable_error_response()->set_error_code(grpc::StatusCode::NOT_FOUND);
    response.mutable_error_response()->set_error_message("there is no such descriptor");
    return;
  }
  std::set<std::string> added;
  AddFile(*file, added, response);
}

const FileDescriptor* FileOfExtension(const std::string& type_name, int number) {
  const Descriptor* const type = Pool().FindMessageTypeByName(type_name);
  const FieldDescriptor* const extension =
      type == nullptr ? nullptr : Pool().FindExtensionByNumber(type, number);
  return extension == nullptr ? nullptr : extension->file();
}

void AnswerNumbers(const std::string& type_name, ServerReflectionResponse& response) {
  const Descriptor* const type = Pool().FindMessageTypeByName(type_name);
  if (type == nullptr) return Answer(nullptr, response);
  std::vector<const FieldDescriptor*> extensions;
  Pool().FindAllExtensions(type, &extensions);
  auto& numbers = *response.mutable_all_extension_numbers_response();
  numbers.set_base_type_name(type_name);
  for (const FieldDescriptor* extension : extensions) {
    numbers.add_extension_number(extension->number());
  }
}

class ReflectionStream final : public JobStream<ServerReflectionRequest, ServerReflectionResponse> {
 public:
  // Counts itself in `streams` as long as it lives.
  ReflectionStream(Batcher& batcher, OpenCalls& calls, grpc::CallbackServerContext* context,
                   const std::vector<std::string>& services, std::atomic<int64_t>& streams)
      : JobStream(batcher, calls, context), services_(services), streams_(streams) {}

  ~ReflectionStream() override { --streams_; }

 protected:
  void OnRequest(ServerReflectionRequest& request) override {
    ServerReflectionResponse& answer = response();
    answer.set_valid_host(request.host());
    *answer.mutable_original_request() = request;
    switch (request.message_request_case()) {
      case ServerReflectionRequest::kFileByFilename:
        Answer(Pool().FindFileByName(request.file_by_filename()), answer);
        break;
      case ServerReflectionRequest::kFileContainingSymbol:
        Answer(Pool().FindFileContainingSymbol(request.file_containing_symbol()), answer);
        break;
      case ServerReflectionRequest::kFileContainingExtension:
        Answer(FileOfExtension(request.file_containing_extension().containing_type(),
                               request.file_containing_extension().extension_number()),
               answer);
        break;
      case ServerReflectionRequest::kAllExtensionNumbersOfType:
        AnswerNumbers(request.all_extension_numbers_of_type(), answer);
        break;
      case ServerReflectionRequest::kListServices:
        for (const std::string& service : services_) {
          answer.mutable_list_services_response()->add_service()->set_name(service);
        }
        break;
      case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
        answer.mutable_error_response()->set_error_code(grpc::StatusCode::INVALID_ARGUMENT);
        answer.mutable_error_response()->set_error_message("message_request must be set");
        break;
    }
    Send();
  }

 private:
  const std::vector<std::string>& services_;
  std::atomic<int64_t>& streams_;
};

// A stream that is refused at once.
class RefusedStream final
    : public grpc::ServerBidiReactor<ServerReflectionRequest, ServerReflectionResponse> {
 public:
  explicit RefusedStream(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

ReflectionService::ReflectionService(Batcher& batcher, OpenCalls& calls,
                                     std::vector<std::string> services, int64_t max_streams)
    : batcher_(batcher), calls_(calls), services_(std::move(services)), max_streams_(max_streams) {}

grpc::ServerBidiReactor<ServerReflectionRequest, ServerReflectionResponse>*
ReflectionService::ServerReflectionInfo(grpc::CallbackServerContext* context) {
  if (++streams_ > max_streams_) {
    --streams_;
    return new RefusedStream(absl::ResourceExhaustedError(
        absl::StrCat("at most ", max_streams_, " reflection streams may be open at once")));
  }
  return ReflectionStream::Begin(
      std::make_shared<ReflectionStream>(batcher_, calls_, context, services_, streams_));
}

}  // namespace token_sampler
