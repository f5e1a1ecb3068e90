#include "server/sampling_service.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/field_check.h"
#include "server/status_mapping.h"

namespace token_sampler {
namespace {

// When a caller whose job found the queue full should try again (gRPC proposal A6).
constexpr char kRetryPushbackMs[] = "50";

// One Sample call. gRPC owns the request, the response and the context until OnDone.
class SampleReactor final : public grpc::ServerUnaryReactor {
 public:
  SampleReactor(Batcher& batcher, grpc::CallbackServerContext* context,
                const v1::SampleRequest& request, v1::SampleResponse& response)
      : batcher_(batcher), context_(context), request_(request), response_(response) {}

  void Start(const RequestLimits& limits) {
    auto job = std::make_shared<Job>(*this);
    absl::Status status = DecodeSample(request_, limits, job->decoded);
    if (!status.ok()) {
      Finish(ToGrpcStatus(status));
      return;
    }
    job->rows = std::move(job->decoded.inputs);
    job->deadline = context_->deadline();
    job->bytes = request_.tensor().data().size();
    job_ = job;
    status = batcher_.Submit(std::move(job));
    if (!status.ok()) FinishUnsampled(status);
  }

  // gRPC calls this after Start has returned, and OnDone after this has.
  void OnCancel() override {
    if (job_ != nullptr) batcher_.Cancel(*job_);
  }

  void OnDone() override { delete this; }

 private:
  struct Job final : public SamplingJob {
    explicit Job(SampleReactor& owner) : reactor(owner) {}

    // Nothing of the reactor may be touched after Finish, which may delete it.
    void Done(const absl::Status& status) override {
      if (!status.ok()) {
        reactor.FinishUnsampled(status);
        return;
      }
      EncodeSample(decoded, results, reactor.response_);
      reactor.Finish(grpc::Status::OK);
    }

    SampleReactor& reactor;
    DecodedSample decoded;
  };

  void FinishUnsampled(const absl::Status& status) {
    if (status.code() == absl::StatusCode::kResourceExhausted) {
      context_->AddTrailingMetadata("grpc-retry-pushback-ms", kRetryPushbackMs);
    }
    if (status.code() == absl::StatusCode::kInternal) {
      spdlog::error("sampling failed: {}", std::string(status.message()));
    }
    Finish(ToGrpcStatus(status));
  }

  Batcher& batcher_;
  grpc::CallbackServerContext* const context_;
  const v1::SampleRequest& request_;
  v1::SampleResponse& response_;
  std::shared_ptr<Job> job_;
};

grpc::Status NotImplemented(const char* rpc) {
  return {grpc::StatusCode::UNIMPLEMENTED,
          absl::StrCat(rpc, " is not implemented by this server yet")};
}

grpc::ServerUnaryReactor* RefuseUnary(grpc::CallbackServerContext* context, const char* rpc) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(NotImplemented(rpc));
  return reactor;
}

class RefuseStream final
    : public grpc::ServerBidiReactor<v1::SampleStreamRequest, v1::SampleStreamResponse> {
 public:
  RefuseStream() { Finish(NotImplemented("SampleStream")); }
  void OnDone() override { delete this; }
};

}  // namespace

SamplingService::SamplingService(Batcher& batcher, const RequestLimits& limits,
                                 v1::GetServerInfoResponse info)
    : batcher_(batcher), limits_(limits), info_(std::move(info)) {}

grpc::ServerUnaryReactor* SamplingService::Sample(grpc::CallbackServerContext* context,
                                                  const v1::SampleRequest* request,
                                                  v1::SampleResponse* response) {
  auto* reactor = new SampleReactor(batcher_, context, *request, *response);
  reactor->Start(limits_);
  return reactor;
}

grpc::ServerUnaryReactor* SamplingService::GetServerInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetServerInfoRequest* request,
                                                         v1::GetServerInfoResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status status = CheckFields(*request);
  if (status.ok()) *response = info_;
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerBidiReactor<v1::SampleStreamRequest, v1::SampleStreamResponse>*
SamplingService::SampleStream(grpc::CallbackServerContext*) {
  return new RefuseStream();
}

grpc::ServerUnaryReactor* SamplingService::VerifyDraft(grpc::CallbackServerContext* context,
                                                       const v1::VerifyDraftRequest*,
                                                       v1::VerifyDraftResponse*) {
  return RefuseUnary(context, "VerifyDraft");
}

grpc::ServerUnaryReactor* SamplingService::Describe(grpc::CallbackServerContext* context,
                                                    const v1::DescribeRequest*,
                                                    v1::DescribeResponse*) {
  return RefuseUnary(context, "Describe");
}

grpc::ServerUnaryReactor* SamplingService::RegisterRegion(grpc::CallbackServerContext* context,
                                                          const v1::RegisterRegionRequest*,
                                                          v1::RegisterRegionResponse*) {
  return RefuseUnary(context, "RegisterRegion");
}

grpc::ServerUnaryReactor* SamplingService::UnregisterRegion(grpc::CallbackServerContext* context,
                                                            const v1::UnregisterRegionRequest*,
                                                            v1::UnregisterRegionResponse*) {
  return RefuseUnary(context, "UnregisterRegion");
}

grpc::ServerUnaryReactor* SamplingService::ListRegions(grpc::CallbackServerContext* context,
                                                       const v1::ListRegionsRequest*,
                                                       v1::ListRegionsResponse*) {
  return RefuseUnary(context, "ListRegions");
}

}  // namespace token_sampler
