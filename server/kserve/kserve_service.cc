#include "server/kserve/kserve_service.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/invalid_argument.h"
#include "server/job_reactor.h"
#include "server/job_stream.h"
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
  InferStream(Batcher& batcher, OpenCalls& calls, grpc::CallbackServerContext* context,
              const RequestLimits& limits, InferenceStatistics& statistics)
      : JobStream(batcher, calls, context), limits_(limits), statistics_(statistics) {}

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
  const RequestLimits limits_;
  InferenceStatistics& statistics_;
};

grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace

KserveService::KserveService(Batcher& batcher, OpenCalls& calls, RegionRegistry& regions,
                             const RequestLimits& limits)
    : batcher_(batcher), calls_(calls), regions_(regions), limits_(limits) {
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
  if (regions_.Has(RegionKind::kSystem)) response->add_extensions("system_shared_memory");
  if (regions_.Has(RegionKind::kCuda)) response->add_extensions("cuda_shared_memory");
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
  auto* reactor = new JobReactor(batcher_, calls_, context);
  auto job = std::make_shared<InferJob>(
      *response, statistics_, [reactor](const absl::Status& status) { reactor->Complete(status); });
  absl::Status status = reactor->CheckRoom();
  if (status.ok()) {
    status = job->Decode(*messages->request(), limits_.ForPeer(context->peer(), regions_));
  }
  if (status.ok()) {
    reactor->Submit(std::move(job));
  } else {
    job->Done(status);
  }
  return reactor;
}

grpc::ServerBidiReactor<ModelInferRequest, ModelStreamInferResponse>*
KserveService::ModelStreamInfer(grpc::CallbackServerContext* context) {
  return InferStream::Begin(std::make_shared<InferStream>(
      batcher_, calls_, context, limits_.ForPeer(context->peer(), regions_), statistics_));
}

absl::StatusOr<std::vector<RegionRegistry::Listed>> KserveService::ListRegions(
    const grpc::CallbackServerContext& context, RegionKind kind, const std::string& name) const {
  std::vector<RegionRegistry::Listed> listed;
  if (absl::Status status = regions_.CheckUse(RegionRegistry::IsRemote(context.peer()));
      !status.ok()) {
    if (name.empty()) return listed;
    return status;
  }
  for (RegionRegistry::Listed& region : regions_.List()) {
    if (region.kind == kind && (name.empty() || region.name == name)) {
      listed.push_back(std::move(region));
    }
  }
  if (listed.empty() && !name.empty()) {
    return absl::NotFoundError(absl::StrCat("no region \"", name, "\" is registered"));
  }
  return listed;
}

grpc::ServerUnaryReactor* KserveService::Unregister(grpc::CallbackServerContext* context,
                                                    RegionKind kind, const std::string& name) {
  const absl::StatusOr<std::vector<RegionRegistry::Listed>> listed =
      ListRegions(*context, kind, name);
  // There may be none to forget, or none that are this peer's business.
  if (!listed.ok() || listed->empty()) return Reply(context, listed.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto released = [reactor] { reactor->Finish(grpc::Status::OK); };
  if (name.empty()) {
    regions_.UnregisterAll(kind, released);
  } else if (absl::Status status = regions_.Unregister(name, released); !status.ok()) {
    reactor->Finish(ToGrpcStatus(status));
  }
  return reactor;
}

grpc::ServerUnaryReactor* KserveService::SystemSharedMemoryStatus(
    grpc::CallbackServerContext* context, const inference::SystemSharedMemoryStatusRequest* request,
    inference::SystemSharedMemoryStatusResponse* response) {
  const auto listed = ListRegions(*context, RegionKind::kSystem, request->name());
  if (!listed.ok()) return Reply(context, listed.status());
  for (const RegionRegistry::Listed& region : *listed) {
    auto& status = (*response->mutable_regions())[region.name];
    status.set_name(region.name);
    status.set_key(region.key);
    status.set_offset(region.offset);
    status.set_byte_size(region.byte_size);
  }
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* KserveService::SystemSharedMemoryRegister(
    grpc::CallbackServerContext* context,
    const inference::SystemSharedMemoryRegisterRequest* request,
    inference::SystemSharedMemoryRegisterResponse*) {
  return Reply(context, regions_.Register(request->name(),
                                          SystemRegionRequest{.key = request->key(),
                                                              .offset = request->offset(),
                                                              .byte_size = request->byte_size()},
                                          context->peer()));
}

grpc::ServerUnaryReactor* KserveService::SystemSharedMemoryUnregister(
    grpc::CallbackServerContext* context,
    const inference::SystemSharedMemoryUnregisterRequest* request,
    inference::SystemSharedMemoryUnregisterResponse*) {
  return Unregister(context, RegionKind::kSystem, request->name());
}

grpc::ServerUnaryReactor* KserveService::CudaSharedMemoryStatus(
    grpc::CallbackServerContext* context, const inference::CudaSharedMemoryStatusRequest* request,
    inference::CudaSharedMemoryStatusResponse* response) {
  const auto listed = ListRegions(*context, RegionKind::kCuda, request->name());
  if (!listed.ok()) return Reply(context, listed.status());
  for (const RegionRegistry::Listed& region : *listed) {
    auto& status = (*response->mutable_regions())[region.name];
    status.set_name(region.name);
    status.set_device_id(region.device);
    status.set_byte_size(region.byte_size);
  }
  return Reply(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* KserveService::CudaSharedMemoryRegister(
    grpc::CallbackServerContext* context, const inference::CudaSharedMemoryRegisterRequest* request,
    inference::CudaSharedMemoryRegisterResponse*) {
  if (!std::in_range<uint32_t>(request->device_id())) {
    return Reply(context, Invalid("device_id must be in [0, 2^32), got ", request->device_id()));
  }
  return Reply(context, regions_.Register(
                            request->name(),
                            CudaRegionRequest{.handle = request->raw_handle(),
                                              .event = "",
                                              .device = static_cast<uint32_t>(request->device_id()),
                                              .offset = 0,
                                              .byte_size = request->byte_size()},
                            context->peer()));
}

grpc::ServerUnaryReactor* KserveService::CudaSharedMemoryUnregister(
    grpc::CallbackServerContext* context,
    const inference::CudaSharedMemoryUnregisterRequest* request,
    inference::CudaSharedMemoryUnregisterResponse*) {
  return Unregister(context, RegionKind::kCuda, request->name());
}

}  // namespace token_sampler
