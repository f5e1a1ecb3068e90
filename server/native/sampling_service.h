// The native gRPC service: it decodes requests, submits jobs to the batcher and encodes answers.

#ifndef TOKEN_SAMPLER_SERVER_NATIVE_SAMPLING_SERVICE_H_
#define TOKEN_SAMPLER_SERVER_NATIVE_SAMPLING_SERVICE_H_

#include <cstdint>
#include <string>

#include "sampler/sampler.h"
#include "server/batching/batcher.h"
#include "server/calls/open_calls.h"
#include "server/calls/strict_requests.h"
#include "server/codec/request_codec.h"
#include "server/regions/region_registry.h"
#include "server/sequences/sequence.h"
#include "token_sampler/v1/token_sampler.grpc.pb.h"

namespace token_sampler {

// Methods that sample take bytes, which are measured before they are parsed (received_message.h).
// The others take messages, of which few bytes cannot become a large one.
template <typename Service>
using RawSampleMethods = v1::TokenSampler::WithRawCallbackMethod_Sample<
    v1::TokenSampler::WithRawCallbackMethod_SampleStream<
        v1::TokenSampler::WithRawCallbackMethod_VerifyDraft<
            v1::TokenSampler::WithRawCallbackMethod_Describe<Service>>>>;
template <typename Service>
using RegionMethods = v1::TokenSampler::WithCallbackMethod_RegisterRegion<
    v1::TokenSampler::WithCallbackMethod_UnregisterRegion<
        v1::TokenSampler::WithCallbackMethod_ListRegions<Service>>>;
template <typename Service>
using OtherMethods = v1::TokenSampler::WithCallbackMethod_GetServerInfo<Service>;

// Thread-safe, because gRPC calls it from many threads.
class SamplingService final
    : public StrictRequests<
          RawSampleMethods<RegionMethods<OtherMethods<v1::TokenSampler::Service>>>> {
 public:
  // All arguments that are passed by reference, except `context` itself, must outlive the service.
  // GetServerInfo answers with `info` and the current fallbacks of the sampler.
  SamplingService(Batcher& batcher, OpenCalls& calls, const Sampler& sampler,
                  const ServerContext& context, const SequenceLimits& sequence_limits,
                  v1::GetServerInfoResponse info);

  grpc::ServerUnaryReactor* Sample(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* SampleStream(
      grpc::CallbackServerContext* context) override;

  grpc::ServerUnaryReactor* VerifyDraft(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest* request,
                                          v1::GetServerInfoResponse* response) override;
  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* RegisterRegion(grpc::CallbackServerContext* context,
                                           const v1::RegisterRegionRequest* request,
                                           v1::RegisterRegionResponse* response) override;
  grpc::ServerUnaryReactor* UnregisterRegion(grpc::CallbackServerContext* context,
                                             const v1::UnregisterRegionRequest* request,
                                             v1::UnregisterRegionResponse* response) override;
  grpc::ServerUnaryReactor* ListRegions(grpc::CallbackServerContext* context,
                                        const v1::ListRegionsRequest* request,
                                        v1::ListRegionsResponse* response) override;

 private:
  Batcher& batcher_;
  OpenCalls& calls_;
  const Sampler& sampler_;
  const ServerContext context_;
  const SequenceLimits sequence_limits_;
  const v1::GetServerInfoResponse info_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_NATIVE_SAMPLING_SERVICE_H_
