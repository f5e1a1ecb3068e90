#include "server/sampling_service.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/status_mapping.h"

namespace token_sampler {
namespace {

// When a caller whose job found the queue full should try again (gRPC proposal A6).
constexpr char kRetryPushbackMs[] = "50";

// One Sample call. gRPC owns the request, the response and the context until OnDone.
class SampleReactor final : public grpc::ServerUnaryReactor {
 public:
  SampleReactor(grpc::CallbackServerContext* context, const v1::SampleRequest& request,
                v1::SampleResponse& response)
      : context_(context), request_(request), response_(response) {}

  void Start(Batcher& batcher, const RequestLimits& limits) {
    auto job = std::make_shared<Job>(*this);
    absl::Status status = DecodeSample(request_, limits, job->decoded);
    if (!status.ok()) {
      Finish(ToGrpcStatus(status));
      return;
    }
    job->rows = std::move(job->decoded.inputs);
    job->deadline = context_->deadline();
    job->bytes = request_.tensor().data().size();
    // OnCancel may run as soon as this is set, and must find the job before it can be done.
    {
      MutexLock lock(mutex_);
      job_ = job;
      if (cancelled_) job->Cancel();
    }
    status = batcher.Submit(job);
    if (!status.ok()) FinishUnsampled(status);
  }

  void OnCancel() override {
    MutexLock lock(mutex_);
    cancelled_ = true;
    if (job_ != nullptr) job_->Cancel();
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

  grpc::CallbackServerContext* const context_;
  const v1::SampleRequest& request_;
  v1::SampleResponse& response_;

  Mutex mutex_;
  std::shared_ptr<Job> job_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
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
  auto* reactor = new SampleReactor(context, *request, *response);
  reactor->Start(batcher_, limits_);
  return reactor;
}

grpc::ServerUnaryReactor* SamplingService::GetServerInfo(grpc::CallbackServerContext* context,
                                                         const v1::GetServerInfoRequest*,
                                                         v1::GetServerInfoResponse* response) {
  *response = info_;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
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
