#include "server/sampling_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "sampler/describe.h"
#include "server/batching/work_estimate.h"
#include "server/describe_codec.h"
#include "server/field_check.h"
#include "server/invalid_argument.h"
#include "server/job_reactor.h"
#include "server/received_message.h"
#include "server/sequences/sequence_stream.h"
#include "server/status_mapping.h"
#include "server/verify_draft_codec.h"

namespace token_sampler {
namespace {

// What the values of the rows take, wherever they lie.
uint64_t AllValueBytes(const std::vector<RowInput>& rows) {
  uint64_t bytes = 0;
  for (const RowInput& row : rows) bytes += ValueBytes(row);
  return bytes;
}

class SampleJob final : public SamplingJob {
 public:
  SampleJob(JobReactor& reactor, grpc::ByteBuffer& response)
      : reactor_(reactor), response_(response) {}

  absl::Status Decode(const grpc::ByteBuffer& message, const RequestLimits& limits) {
    absl::Status status = received_.Parse(message);
    if (status.ok())
      status = DecodeSample(received_.request(), limits, decoded_, &received_.data());
    if (!status.ok()) return status;
    rows = std::move(decoded_.inputs);
    bytes = AllValueBytes(rows);
    return absl::OkStatus();
  }

  void Done(const absl::Status& sampled) override {
    absl::Status status = CallStatus(sampled, std::move(decoded_.region_rows));
    if (status.ok()) {
      FinishCandidates(decoded_.candidates, absl::MakeSpan(results));
      v1::SampleResponse response;
      EncodeSample(decoded_, results, response);
      status = SerializeMessage(response, response_);
    }
    reactor_.Complete(status);
  }

 private:
  JobReactor& reactor_;
  grpc::ByteBuffer& response_;
  ReceivedMessage<v1::SampleRequest> received_;
  DecodedSample decoded_;
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

  void Done(const absl::Status& sampled) override {
    const absl::Status status = CallStatus(CallStatus(sampled, std::move(decoded.target_rows)),
                                           std::move(decoded.draft_rows));
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
    EncodeDescribe(decoded, views, result, response_);
    return absl::OkStatus();
  }

  void Done(const absl::Status& status) override {
    reactor_.Complete(CallStatus(status, std::move(decoded.region_rows)));
  }

  DecodedSample decoded;
  uint32_t top_n = 0;

 private:
  JobReactor& reactor_;
  v1::DescribeResponse& response_;
};

// What a request sets and its kind of region does not have is refused, not ignored.
absl::Status RegisterOne(const v1::RegisterRegionRequest& request, const std::string& peer,
                         RegionRegistry& regions) {
  if (request.kind() == v1::REGION_KIND_SYSTEM) {
    if (request.has_cuda_handle() || request.has_cuda_event() || request.has_device()) {
      return Invalid("cuda_handle, cuda_event and device must not be set for kind SYSTEM");
    }
    return regions.Register(
        request.name(),
        SystemRegionRequest{
            .key = request.key(), .offset = request.offset(), .byte_size = request.byte_size()},
        peer);
  }
  if (request.kind() != v1::REGION_KIND_CUDA) return Invalid("kind must be SYSTEM or CUDA");
  if (request.has_key()) return Invalid("key must not be set for kind CUDA");
  return regions.Register(request.name(),
                          CudaRegionRequest{.handle = request.cuda_handle(),
                                            .event = request.cuda_event(),
                                            .device = request.device(),
                                            .offset = request.offset(),
                                            .byte_size = request.byte_size()},
                          peer);
}

grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace

SamplingService::SamplingService(Batcher& batcher, OpenCalls& calls, const Sampler& sampler,
                                 RegionRegistry& regions, const RequestLimits& limits,
                                 const SequenceLimits& sequence_limits,
                                 v1::GetServerInfoResponse info)
    : batcher_(batcher),
      calls_(calls),
      sampler_(sampler),
      regions_(regions),
      limits_(limits),
      sequence_limits_(sequence_limits),
      sequence_memory_(sequence_limits.max_bytes),
      info_(std::move(info)) {}

RequestLimits SamplingService::CallLimits(const grpc::CallbackServerContext& context) const {
  return limits_.ForPeer(context.peer(), regions_);
}

grpc::ServerUnaryReactor* SamplingService::Sample(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  auto* reactor = new JobReactor(batcher_, calls_, context);
  auto job = std::make_shared<SampleJob>(*reactor, *response);
  absl::Status status = reactor->CheckRoom();
  if (status.ok()) status = job->Decode(*request, CallLimits(*context));
  if (status.ok()) {
    reactor->Submit(std::move(job));
  } else {
    reactor->Complete(status);
  }
  return reactor;
}

grpc::ServerUnaryReactor* SamplingService::VerifyDraft(grpc::CallbackServerContext* context,
                                                       const v1::VerifyDraftRequest* request,
                                                       v1::VerifyDraftResponse* response) {
  auto* reactor = new JobReactor(batcher_, calls_, context);
  auto job = std::make_shared<VerifyDraftJob>(*reactor, *response);
  absl::Status status = reactor->CheckRoom();
  if (status.ok()) status = DecodeVerifyDraft(*request, CallLimits(*context), job->decoded);
  if (status.ok()) {
    WorkEstimator estimator;
    for (const DraftInput& draft : job->decoded.inputs) job->work += estimator.OfDraft(draft);
    job->rows = std::move(job->decoded.rows);  // the batcher counts them; they stay in their place
    job->bytes = AllValueBytes(job->rows);
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
  if (status.ok()) {
    *response = info_;
    for (const Fallback& fallback : sampler_.fallbacks()) {
      v1::GetServerInfoResponse::Fallback& added = *response->add_fallbacks();
      added.set_reason(fallback.reason);
      added.set_rows(fallback.rows);
    }
  }
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* SamplingService::SampleStream(
    grpc::CallbackServerContext* context) {
  return SequenceStream::Begin(std::make_shared<SequenceStream>(
      batcher_, calls_, context, CallLimits(*context), sequence_limits_, sequence_memory_));
}

grpc::ServerUnaryReactor* SamplingService::Describe(grpc::CallbackServerContext* context,
                                                    const v1::DescribeRequest* request,
                                                    v1::DescribeResponse* response) {
  auto* reactor = new JobReactor(batcher_, calls_, context);
  auto job = std::make_shared<DescribeJob>(*reactor, *response);
  absl::Status status = reactor->CheckRoom();
  if (status.ok()) {
    status = DecodeDescribe(*request, CallLimits(*context), job->decoded, job->top_n);
  }
  if (status.ok()) {
    job->rows = std::move(job->decoded.inputs);
    job->work = WorkEstimator().OfDescription(job->rows[0]);
    job->bytes = AllValueBytes(job->rows);
    reactor->Submit(std::move(job));
  } else {
    reactor->Complete(status);
  }
  return reactor;
}

grpc::ServerUnaryReactor* SamplingService::RegisterRegion(grpc::CallbackServerContext* context,
                                                          const v1::RegisterRegionRequest* request,
                                                          v1::RegisterRegionResponse*) {
  if (absl::Status status = CheckFields(*request); !status.ok()) return Reply(context, status);
  return Reply(context, RegisterOne(*request, context->peer(), regions_));
}

grpc::ServerUnaryReactor* SamplingService::UnregisterRegion(
    grpc::CallbackServerContext* context, const v1::UnregisterRegionRequest* request,
    v1::UnregisterRegionResponse*) {
  const std::string peer = context->peer();
  absl::Status status = CheckFields(*request);
  if (status.ok()) status = regions_.CheckUse(RegionRegistry::IsRemote(peer));
  if (!status.ok()) return Reply(context, status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto released = [reactor] { reactor->Finish(grpc::Status::OK); };
  if (request->name().empty()) {
    regions_.UnregisterAll(peer, released);
  } else if (status = regions_.Unregister(request->name(), released); !status.ok()) {
    reactor->Finish(ToGrpcStatus(status));
  }
  return reactor;
}

grpc::ServerUnaryReactor* SamplingService::ListRegions(grpc::CallbackServerContext* context,
                                                       const v1::ListRegionsRequest* request,
                                                       v1::ListRegionsResponse* response) {
  absl::Status status = CheckFields(*request);
  if (status.ok()) status = regions_.CheckUse(RegionRegistry::IsRemote(context->peer()));
  if (!status.ok()) return Reply(context, status);
  for (const RegionRegistry::Listed& listed : regions_.List()) {
    v1::ListRegionsResponse::Region& region = *response->add_regions();
    region.set_name(listed.name);
    region.set_kind(listed.kind == RegionKind::kSystem ? v1::REGION_KIND_SYSTEM
                                                       : v1::REGION_KIND_CUDA);
    region.set_byte_size(listed.byte_size);
    region.set_calls_in_flight(listed.calls_in_flight);
  }
  return Reply(context, absl::OkStatus());
}

}  // namespace token_sampler
