#include "server/sampling_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sampler/describe.h"
#include "server/describe_codec.h"
#include "server/field_check.h"
#include "server/job_reactor.h"
#include "server/sequences/sequence_stream.h"
#include "server/status_mapping.h"
#include "server/verify_draft_codec.h"

namespace token_sampler {
namespace {

class SampleJob final : public SamplingJob {
 public:
  SampleJob(JobReactor& reactor, v1::SampleResponse& response)
      : reactor_(reactor), response_(response) {}

  void Done(const absl::Status& status) override {
    if (status.ok()) EncodeSample(decoded, results, response_);
    reactor_.Complete(status);
  }

  DecodedSample decoded;

 private:
  JobReactor& reactor_;
  v1::SampleResponse& response_;
};

class VerifyDraftJob final : public SamplingJob {
 public:
  VerifyDraftJob(JobReactor& reactor, v1::VerifyDraftResponse& response)
      : reactor_(reactor), response_(response) {
    runs_alone = true;
  }

  absl::Status Run(Sampler& sampler) override {
    results_.resize(decoded.inputs.size());
    return VerifyDrafts(sampler, decoded.inputs, absl::MakeSpan(results_));
  }

  void Done(const absl::Status& status) override {
    if (status.ok()) EncodeVerifyDraft(decoded, results_, response_);
    reactor_.Complete(status);
  }

  DecodedDrafts decoded;

 private:
  JobReactor& reactor_;
  v1::VerifyDraftResponse& response_;
  std::vector<DraftResult> results_;
};

class DescribeJob final : public SamplingJob {
 public:
  DescribeJob(JobReactor& reactor, v1::DescribeResponse& response)
      : reactor_(reactor), response_(response) {
    runs_alone = true;
  }

  absl::Status Run(Sampler&) override {
    RowResult result;
    const std::vector<StageView> views = DescribeRow(rows[0], top_n, result);
    EncodeDescribe(views, result, response_);
    return absl::OkStatus();
  }

  void Done(const absl::Status& status) override { reactor_.Complete(status); }

  DecodedSample decoded;
  uint32_t top_n = 0;

 private:
  JobReactor& reactor_;
  v1::DescribeResponse& response_;
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

}  // namespace

SamplingService::SamplingService(Batcher& batcher, const RequestLimits& limits,
                                 const SequenceLimits& sequence_limits,
                                 v1::GetServerInfoResponse info)
    : batcher_(batcher),
      limits_(limits),
      sequence_limits_(sequence_limits),
      sequence_memory_(sequence_limits.max_bytes),
      info_(std::move(info)) {}

grpc::ServerUnaryReactor* SamplingService::Sample(grpc::CallbackServerContext* context,
                                                  const v1::SampleRequest* request,
                                                  v1::SampleResponse* response) {
  auto* reactor = new JobReactor(batcher_, context);
  auto job = std::make_shared<SampleJob>(*reactor, *response);
  const absl::Status status = DecodeSample(*request, limits_, job->decoded);
  if (status.ok()) {
    job->rows = std::move(job->decoded.inputs);
    job->bytes = request->tensor().data().size();
    reactor->Submit(std::move(job));
  } else {
    reactor->Complete(status);
  }
  return reactor;
}

grpc::ServerUnaryReactor* SamplingService::VerifyDraft(grpc::CallbackServerContext* context,
                                                       const v1::VerifyDraftRequest* request,
                                                       v1::VerifyDraftResponse* response) {
  auto* reactor = new JobReactor(batcher_, context);
  auto job = std::make_shared<VerifyDraftJob>(*reactor, *response);
  const absl::Status status = DecodeVerifyDraft(*request, limits_, job->decoded);
  if (status.ok()) {
    job->rows = std::move(job->decoded.rows);  // the batcher counts them; they stay in their place
    job->bytes = request->target().data().size() + request->draft().data().size();
    reactor->Submit(std::move(job));
  } else {
    reactor->Complete(status);
  }
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
SamplingService::SampleStream(grpc::CallbackServerContext* context) {
  return SequenceStream::Begin(std::make_shared<SequenceStream>(batcher_, context, limits_,
                                                                sequence_limits_, sequence_memory_),
                               streams_);
}

grpc::ServerUnaryReactor* SamplingService::Describe(grpc::CallbackServerContext* context,
                                                    const v1::DescribeRequest* request,
                                                    v1::DescribeResponse* response) {
  auto* reactor = new JobReactor(batcher_, context);
  auto job = std::make_shared<DescribeJob>(*reactor, *response);
  const absl::Status status = DecodeDescribe(*request, limits_, job->decoded, job->top_n);
  if (status.ok()) {
    job->rows = std::move(job->decoded.inputs);
    job->bytes = request->request().tensor().data().size();
    reactor->Submit(std::move(job));
  } else {
    reactor->Complete(status);
  }
  return reactor;
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
