#include "server/kserve/kserve_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/job_reactor.h"
#include "server/kserve/infer_job.h"
#include "server/kserve/sampler_model.h"
#include "server/status_mapping.h"

namespace token_sampler {
namespace {

using inference::ModelInferRequest;
using inference::ModelInferResponse;
using inference::ModelStreamInferResponse;

constexpr const char* kExtensions[] = {"model_configuration", "parameters", "statistics"};

// The messages of a call, which its handler may change: it takes the tensors out of the request.
class InferMessages final : public grpc::MessageHolder<ModelInferRequest, ModelInferResponse> {
 public:
  InferMessages() {
    set_request(&request_);
    set_response(&response_);
  }
  void Release() override { delete this; }

 private:
  ModelInferRequest request_;
  ModelInferResponse response_;
};

class InferMessageAllocator final
    : public grpc::MessageAllocator<ModelInferRequest, ModelInferResponse> {
 public:
  grpc::MessageHolder<ModelInferRequest, ModelInferResponse>* AllocateMessages() override {
    return new InferMessages;
  }
};

class InferStream final : public JobStream<ModelInferRequest, ModelStreamInferResponse> {
 public:
  InferStream(Batcher& batcher, grpc::CallbackServerContext* context, const RequestLimits& limits,
              InferenceStatistics& statistics)
      : JobStream(batcher, context), limits_(limits), statistics_(statistics) {}

 protected:
  void OnRequest(ModelInferRequest& request) override {
    std::string id = request.id();
    auto job =
        std::make_shared<InferJob>(*response().mutable_infer_response(), statistics_,
                                   [this, id = std::move(id)](const absl::Status& status) {
                                     if (!status.ok()) {
                                       response().set_error_message(std::string(status.message()));
                                       response().mutable_infer_response()->set_id(id);
                                     }
                                     Send();
                                   });
    const absl::Status status = job->Decode(request, limits_);
    if (status.ok()) {
      Submit(job);
    } else {
      job->Done(status);
    }
  }

 private:
  const RequestLimits& limits_;
  InferenceStatistics& statistics_;
};

grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

absl::Status NoSharedMemory() {
  return absl::UnimplementedError("this server has no shared memory; send the contents");
}

// Of status and unregister calls: every region, of which there is none, or one that is not there.
absl::Status FindRegion(const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("no region \"", name, "\" is registered"));
}

}  // namespace

KserveService::KserveService(Batcher& batcher, const RequestLimits& limits)
    : batcher_(batcher), limits_(limits) {
  static auto& allocator = *new InferMessageAllocator;
  SetMessageAllocatorFor_ModelInfer(&allocator);
}

grpc::ServerUnaryReactor* KserveService::ServerLive(grpc::CallbackServerContext* context,
                                                    const inference::ServerLiveRequest*,
                                                    inference::ServerLiveResponse* response) {
  response->set_live(true);
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* KserveService::ServerReady(grpc::CallbackServerContext* context,
                                                     const inference::ServerReadyRequest*,
                                                     inference::ServerReadyResponse* response) {
  response->set_ready(ready_);
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* KserveService::ModelReady(grpc::CallbackServerContext* context,
                                                    const inference::ModelReadyRequest* request,
                                                    inference::ModelReadyResponse* response) {
  response->set_ready(ready_ && CheckModel(request->name(), request->version()).ok());
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* KserveService::ServerMetadata(
    grpc::CallbackServerContext* context, const inference::ServerMetadataRequest*,
    inference::ServerMetadataResponse* response) {
  response->set_name("token-sampler");
  response->set_version(TOKEN_SAMPLER_VERSION);
  for (const char* extension : kExtensions) response->add_extensions(extension);
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* KserveService::ModelMetadata(
    grpc::CallbackServerContext* context, const inference::ModelMetadataRequest* request,
    inference::ModelMetadataResponse* response) {
  const absl::Status status = CheckModel(request->name(), request->version());
  if (status.ok()) *response = DescribeModel();
  return Reply(context, status);
}

grpc::ServerUnaryReactor* KserveService::ModelConfig(grpc::CallbackServerContext* context,
                                                     const inference::ModelConfigRequest* request,
                                                     inference::ModelConfigResponse* response) {
  const absl::Status status = CheckModel(request->name(), request->version());
  if (status.ok()) *response->mutable_config() = ConfigureModel(limits_.max_rows);
  return Reply(context, status);
}

grpc::ServerUnaryReactor* KserveService::ModelStatistics(
    grpc::CallbackServerContext* context, const inference::ModelStatisticsRequest* request,
    inference::ModelStatisticsResponse* response) {
  const std::string& name = request->name().empty() ? kModelName : request->name();
  const absl::Status status = CheckModel(name, request->version());
  if (status.ok()) *response->add_model_stats() = statistics_.Get();
  return Reply(context, status);
}

grpc::ServerUnaryReactor* KserveService::ModelInfer(grpc::CallbackServerContext* context,
                                                    const ModelInferRequest*,
                                                    ModelInferResponse* response) {
  auto* messages = static_cast<InferMessages*>(context->GetRpcAllocatorState());
  auto* reactor = new JobReactor(batcher_, context);
  auto job = std::make_shared<InferJob>(
      *response, statistics_, [reactor](const absl::Status& status) { reactor->Complete(status); });
  const absl::Status status = job->Decode(*messages->request(), limits_);
  if (status.ok()) {
    reactor->Submit(std::move(job));
  } else {
    job->Done(status);
  }
  return reactor;
}

grpc::ServerBidiReactor<ModelInferRequest, ModelStreamInferResponse>*
KserveService::ModelStreamInfer(grpc::CallbackServerContext* context) {
  return InferStream::Begin(std::make_shared<InferStream>(batcher_, context, limits_, statistics_),
                            streams_);
}

grpc::ServerUnaryReactor* KserveService::SystemSharedMemoryStatus(
    grpc::CallbackServerContext* context, const inference::SystemSharedMemoryStatusRequest* request,
    inference::SystemSharedMemoryStatusResponse*) {
  return Reply(context, FindRegion(request->name()));
}

grpc::ServerUnaryReactor* KserveService::SystemSharedMemoryRegister(
    grpc::CallbackServerContext* context, const inference::SystemSharedMemoryRegisterRequest*,
    inference::SystemSharedMemoryRegisterResponse*) {
  return Reply(context, NoSharedMemory());
}

grpc::ServerUnaryReactor* KserveService::SystemSharedMemoryUnregister(
    grpc::CallbackServerContext* context,
    const inference::SystemSharedMemoryUnregisterRequest* request,
    inference::SystemSharedMemoryUnregisterResponse*) {
  return Reply(context, FindRegion(request->name()));
}

grpc::ServerUnaryReactor* KserveService::CudaSharedMemoryStatus(
    grpc::CallbackServerContext* context, const inference::CudaSharedMemoryStatusRequest* request,
    inference::CudaSharedMemoryStatusResponse*) {
  return Reply(context, FindRegion(request->name()));
}

grpc::ServerUnaryReactor* KserveService::CudaSharedMemoryRegister(
    grpc::CallbackServerContext* context, const inference::CudaSharedMemoryRegisterRequest*,
    inference::CudaSharedMemoryRegisterResponse*) {
  return Reply(context, NoSharedMemory());
}

grpc::ServerUnaryReactor* KserveService::CudaSharedMemoryUnregister(
    grpc::CallbackServerContext* context,
    const inference::CudaSharedMemoryUnregisterRequest* request,
    inference::CudaSharedMemoryUnregisterResponse*) {
  return Reply(context, FindRegion(request->name()));
}

}  // namespace token_sampler
