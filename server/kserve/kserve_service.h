// Serves the Open Inference Protocol (KServe v2) to existing clients, with the batcher and the
// codec of the native service.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_KSERVE_SERVICE_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_KSERVE_SERVICE_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/grpc_inference_service.grpc.pb.h"
#include "server/batching/batcher.h"
#include "server/calls/open_calls.h"
#include "server/calls/strict_requests.h"
#include "server/codec/request_codec.h"
#include "server/kserve/inference_statistics.h"
#include "server/regions/region_registry.h"

namespace token_sampler {

// Calls that sample take their requests as bytes, which are measured before they are parsed
// (received_message.h); all others take messages.
template <typename Service>
using RawInferMethods = inference::GRPCInferenceService::WithRawCallbackMethod_ModelInfer<
    inference::GRPCInferenceService::WithRawCallbackMethod_ModelStreamInfer<Service>>;
template <typename Service>
using HealthMethods = inference::GRPCInferenceService::WithCallbackMethod_ServerLive<
    inference::GRPCInferenceService::WithCallbackMethod_ServerReady<
        inference::GRPCInferenceService::WithCallbackMethod_ModelReady<Service>>>;
template <typename Service>
using ModelMethods = inference::GRPCInferenceService::WithCallbackMethod_ServerMetadata<
    inference::GRPCInferenceService::WithCallbackMethod_ModelMetadata<
        inference::GRPCInferenceService::WithCallbackMethod_ModelConfig<
            inference::GRPCInferenceService::WithCallbackMethod_ModelStatistics<Service>>>>;
template <typename Service>
using SystemMemoryMethods =
    inference::GRPCInferenceService::WithCallbackMethod_SystemSharedMemoryStatus<
        inference::GRPCInferenceService::WithCallbackMethod_SystemSharedMemoryRegister<
            inference::GRPCInferenceService::WithCallbackMethod_SystemSharedMemoryUnregister<
                Service>>>;
template <typename Service>
using CudaMemoryMethods =
    inference::GRPCInferenceService::WithCallbackMethod_CudaSharedMemoryStatus<
        inference::GRPCInferenceService::WithCallbackMethod_CudaSharedMemoryRegister<
            inference::GRPCInferenceService::WithCallbackMethod_CudaSharedMemoryUnregister<
                Service>>>;

// Thread-safe: gRPC calls it from many threads.
class KserveService final
    : public StrictRequests<RawInferMethods<HealthMethods<ModelMethods<
          SystemMemoryMethods<CudaMemoryMethods<inference::GRPCInferenceService::Service>>>>>> {
 public:
  // `batcher`, `calls` and what `context` refers to must outlive the service.
  KserveService(Batcher& batcher, OpenCalls& calls, const ServerContext& context);

  // Sets what ServerReady and ModelReady answer. Calls are served either way.
  void SetReady(bool ready) { ready_ = ready; }

  grpc::ServerUnaryReactor* ServerLive(grpc::CallbackServerContext* context,
                                       const inference::ServerLiveRequest* request,
                                       inference::ServerLiveResponse* response) override;
  grpc::ServerUnaryReactor* ServerReady(grpc::CallbackServerContext* context,
                                        const inference::ServerReadyRequest* request,
                                        inference::ServerReadyResponse* response) override;
  grpc::ServerUnaryReactor* ModelReady(grpc::CallbackServerContext* context,
                                       const inference::ModelReadyRequest* request,
                                       inference::ModelReadyResponse* response) override;
  grpc::ServerUnaryReactor* ServerMetadata(grpc::CallbackServerContext* context,
                                           const inference::ServerMetadataRequest* request,
                                           inference::ServerMetadataResponse* response) override;
  grpc::ServerUnaryReactor* ModelMetadata(grpc::CallbackServerContext* context,
                                          const inference::ModelMetadataRequest* request,
                                          inference::ModelMetadataResponse* response) override;
  grpc::ServerUnaryReactor* ModelConfig(grpc::CallbackServerContext* context,
                                        const inference::ModelConfigRequest* request,
                                        inference::ModelConfigResponse* response) override;
  grpc::ServerUnaryReactor* ModelStatistics(grpc::CallbackServerContext* context,
                                            const inference::ModelStatisticsRequest* request,
                                            inference::ModelStatisticsResponse* response) override;
  grpc::ServerUnaryReactor* ModelInfer(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ModelStreamInfer(
      grpc::CallbackServerContext* context) override;

  grpc::ServerUnaryReactor* SystemSharedMemoryStatus(
      grpc::CallbackServerContext* context,
      const inference::SystemSharedMemoryStatusRequest* request,
      inference::SystemSharedMemoryStatusResponse* response) override;
  grpc::ServerUnaryReactor* SystemSharedMemoryRegister(
      grpc::CallbackServerContext* context,
      const inference::SystemSharedMemoryRegisterRequest* request,
      inference::SystemSharedMemoryRegisterResponse* response) override;
  grpc::ServerUnaryReactor* SystemSharedMemoryUnregister(
      grpc::CallbackServerContext* context,
      const inference::SystemSharedMemoryUnregisterRequest* request,
      inference::SystemSharedMemoryUnregisterResponse* response) override;
  grpc::ServerUnaryReactor* CudaSharedMemoryStatus(
      grpc::CallbackServerContext* context, const inference::CudaSharedMemoryStatusRequest* request,
      inference::CudaSharedMemoryStatusResponse* response) override;
  grpc::ServerUnaryReactor* CudaSharedMemoryRegister(
      grpc::CallbackServerContext* context,
      const inference::CudaSharedMemoryRegisterRequest* request,
      inference::CudaSharedMemoryRegisterResponse* response) override;
  grpc::ServerUnaryReactor* CudaSharedMemoryUnregister(
      grpc::CallbackServerContext* context,
      const inference::CudaSharedMemoryUnregisterRequest* request,
      inference::CudaSharedMemoryUnregisterResponse* response) override;

 private:
  // The caller's regions of a kind, or only the one named `name` unless that is empty; NotFound
  // when there is none of the name. A peer that may not use regions gets an error only if it names
  // one: clients list and unregister all regions before they know whether they will use any.
  absl::StatusOr<std::vector<RegionRegistry::Listed>> ListRegions(const CallIdentity& caller,
                                                                  RegionKind kind,
                                                                  const std::string& name) const;

  grpc::ServerUnaryReactor* Unregister(grpc::CallbackServerContext* context, RegionKind kind,
                                       const std::string& name);

  Batcher& batcher_;
  OpenCalls& calls_;
  const ServerContext context_;
  std::atomic<bool> ready_{true};
  InferenceStatistics statistics_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_KSERVE_SERVICE_H_
