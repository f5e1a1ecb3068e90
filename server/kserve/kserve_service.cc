#include "server/kserve/kserve_service.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/calls/job_reactor.h"
#include "server/calls/job_stream.h"
#include "server/calls/received_message.h"
#include "server/calls/status_mapping.h"
#include "server/codec/invalid_argument.h"
#include "server/kserve/infer_job.h"
#include "server/kserve/sampler_model.h"
#include "server/memory/ledger.h"

namespace token_sampler {
namespace {

using inference::ModelInferRequest;
using inference::ModelInferResponse;
using inference::ModelStreamInferResponse;

constexpr const char* kExtensions[] = {"model_configuration", "parameters", "statistics"};

// A request and its answer, and the memory of both.
struct Exchange {
  explicit Exchange(const CallContext& call_context)
      : received(call_context), answer_memory(call_context.ledger, Account::kAnswers) {}

  ReceivedMessage<ModelInferRequest> received;
  MemoryGrant answer_memory;
};

// Decodes the received request into `job`. On an error, call the job's Done() with it.
absl::Status Decode(const CallContext& call_context, Exchange& exchange, InferJob& job) {
  absl::Status status = job.Decode(exchange.received.mutable_request(), call_context);
  if (status.ok()) status = exchange.answer_memory.Grow(job.answer().memory);
  if (status.ok()) job.bytes = exchange.received.bytes();
  return status;
}

// Serializes the answer for gRPC to send, and frees the rest of the exchange.
template <typename Response>
absl::Status Write(Response& response, Exchange& exchange, grpc::ByteBuffer& to) {
  absl::Status status = SerializeMessage(response, to);
  Response().Swap(&response);
  exchange.received.Clear();
  exchange.answer_memory.ShrinkTo(to.Length());
  return status;
}

class InferStream final : public JobStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  InferStream(Batcher& batcher, OpenCalls& calls, grpc::CallbackServerContext* context,
              const ServerContext& server_context, InferenceStatistics& statistics)
      : JobStream(batcher, calls, context),
        call_context_(server_context.ForCaller(identity())),
        statistics_(statistics),
        exchange_(call_context_) {}

 protected:
  void OnRequest(grpc::ByteBuffer& message) override {
    absl::Status status = exchange_.received.Parse(message);
    message.Clear();
    id_ = status.ok() ? exchange_.received.request().id() : "";
    auto job = std::make_shared<InferJob>(*answer_.mutable_infer_response(), statistics_,
                                          [this](const absl::Status& done) { Answer(done); });
    if (status.ok()) status = Decode(call_context_, exchange_, *job);
    if (status.ok()) {
      Submit(job);
    } else {
      job->Done(status);
    }
  }

  void OnAnswered() override { exchange_.answer_memory.ShrinkTo(0); }

 private:
  void Answer(const absl::Status& status) {
    if (!status.ok()) {
      answer_.set_error_message(std::string(status.message()));
      answer_.mutable_infer_response()->set_id(id_);
    }
    const absl::Status written = Write(answer_, exchange_, response());
    if (!written.ok()) return Answer(written);
    Send();
  }

  const CallContext call_context_;
  InferenceStatistics& statistics_;
  Exchange exchange_;
  std::string id_;  // of the current request
  ModelStreamInferResponse answer_;
};

// Returns an error of registering a CUDA region, which names fields of the native request, with the
// names that they have in KServe's.
absl::Status WithKserveNames(const absl::Status& status) {
  static constexpr std::pair<absl::string_view, absl::string_view> kNames[] = {
      {"cuda_handle ", "raw_handle "}, {"device ", "device_id "}};
  absl::string_view rest = status.message();
  for (const auto& [native, kserve] : kNames) {
    if (!absl::ConsumePrefix(&rest, native)) continue;
    return absl::Status(status.code(), absl::StrCat(kserve, rest));
  }
  return status;
}

}  // namespace

KserveService::KserveService(Batcher& batcher, OpenCalls& calls, const ServerContext& context)
    : batcher_(batcher), calls_(calls), context_(context) {
  const auto strictly = [this](absl::string_view name, auto method) {
    TakeStrictly(inference::GRPCInferenceService::service_full_name(), name, this, method);
  };
  strictly("ServerLive", &KserveService::ServerLive);
  strictly("ServerReady", &KserveService::ServerReady);
  strictly("ModelReady", &KserveService::ModelReady);
  strictly("ServerMetadata", &KserveService::ServerMetadata);
  strictly("ModelMetadata", &KserveService::ModelMetadata);
  strictly("ModelConfig", &KserveService::ModelConfig);
  strictly("ModelStatistics", &KserveService::ModelStatistics);
  strictly("SystemSharedMemoryStatus", &KserveService::SystemSharedMemoryStatus);
  strictly("SystemSharedMemoryRegister", &KserveService::SystemSharedMemoryRegister);
  strictly("SystemSharedMemoryUnregister", &KserveService::SystemSharedMemoryUnregister);
  strictly("CudaSharedMemoryStatus", &KserveService::CudaSharedMemoryStatus);
  strictly("CudaSharedMemoryRegister", &KserveService::CudaSharedMemoryRegister);
  strictly("CudaSharedMemoryUnregister", &KserveService::CudaSharedMemoryUnregister);
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
  if (context_.regions.Has(RegionKind::kSystem)) response->add_extensions("system_shared_memory");
  if (context_.regions.Has(RegionKind::kCuda)) response->add_extensions("cuda_shared_memory");
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
  if (status.ok()) *response->mutable_config() = ConfigureModel(context_.limits.max_rows);
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
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  // This lives as long as the job, which the reactor keeps until gRPC has sent the answer.
  struct State {
    explicit State(const CallContext& call_context) : exchange(call_context) {}
    Exchange exchange;
    ModelInferResponse answer;
  };
  auto* reactor = new JobReactor(batcher_, calls_, context);
  const CallContext call_context = context_.ForCaller(reactor->identity());
  auto state = std::make_shared<State>(call_context);
  auto job = std::make_shared<InferJob>(
      state->answer, statistics_, [reactor, state, response](const absl::Status& done) {
        reactor->Complete(done.ok() ? Write(state->answer, state->exchange, *response) : done);
      });
  absl::Status status = reactor->CheckCaller();
  if (status.ok()) status = state->exchange.received.Parse(*request);
  LetGo(*request);
  if (status.ok()) status = Decode(call_context, state->exchange, *job);
  if (status.ok()) {
    reactor->Submit(std::move(job));
  } else {
    job->Done(status);
  }
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* KserveService::ModelStreamInfer(
    grpc::CallbackServerContext* context) {
  return InferStream::Begin(
      std::make_shared<InferStream>(batcher_, calls_, context, context_, statistics_));
}

absl::StatusOr<std::vector<RegionRegistry::Listed>> KserveService::ListRegions(
    const CallIdentity& caller, RegionKind kind, const std::string& name) const {
  std::vector<RegionRegistry::Listed> listed;
  if (absl::Status status = context_.regions.CheckUse(caller); !status.ok()) {
    if (name.empty()) return listed;
    return status;
  }
  for (RegionRegistry::Listed& region : context_.regions.List(caller)) {
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
  const CallIdentity caller = IdentityOfPeer(context->peer());
  const absl::StatusOr<std::vector<RegionRegistry::Listed>> listed =
      ListRegions(caller, kind, name);
  // There is none to unregister, or this peer may not use regions.
  if (!listed.ok() || listed->empty()) return Reply(context, listed.status());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto released = [reactor] { reactor->Finish(grpc::Status::OK); };
  if (name.empty()) {
    context_.regions.UnregisterAll(kind, caller, released);
  } else if (absl::Status status = context_.regions.Unregister(name, caller, released);
             !status.ok()) {
    reactor->Finish(ToGrpcStatus(status));
  }
  return reactor;
}

grpc::ServerUnaryReactor* KserveService::SystemSharedMemoryStatus(
    grpc::CallbackServerContext* context, const inference::SystemSharedMemoryStatusRequest* request,
    inference::SystemSharedMemoryStatusResponse* response) {
  const auto listed =
      ListRegions(IdentityOfPeer(context->peer()), RegionKind::kSystem, request->name());
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
  return Reply(context,
               context_.regions.Register(request->name(),
                                         SystemRegionRequest{.key = request->key(),
                                                             .offset = request->offset(),
                                                             .byte_size = request->byte_size()},
                                         IdentityOfPeer(context->peer())));
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
  const auto listed =
      ListRegions(IdentityOfPeer(context->peer()), RegionKind::kCuda, request->name());
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
  return Reply(context, WithKserveNames(context_.regions.Register(
                            request->name(),
                            CudaRegionRequest{.handle = request->raw_handle(),
                                              .event = "",
                                              .device = static_cast<uint32_t>(request->device_id()),
                                              .offset = 0,
                                              .byte_size = request->byte_size()},
                            IdentityOfPeer(context->peer()))));
}

grpc::ServerUnaryReactor* KserveService::CudaSharedMemoryUnregister(
    grpc::CallbackServerContext* context,
    const inference::CudaSharedMemoryUnregisterRequest* request,
    inference::CudaSharedMemoryUnregisterResponse*) {
  return Unregister(context, RegionKind::kCuda, request->name());
}

}  // namespace token_sampler
