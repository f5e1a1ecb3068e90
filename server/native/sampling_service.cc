#include "server/native/sampling_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "sampler/describe.h"
#include "sampler/status_macros.h"
#include "server/batching/work_estimate.h"
#include "server/calls/job_reactor.h"
#include "server/calls/received_message.h"
#include "server/calls/status_mapping.h"
#include "server/codec/describe_codec.h"
#include "server/codec/field_check.h"
#include "server/codec/invalid_argument.h"
#include "server/codec/verify_draft_codec.h"
#include "server/sequences/sequence_stream.h"

namespace token_sampler {
namespace {

// The job of a unary call. Holds the memory grant of the answer until gRPC has sent it.
template <typename Request, typename Response>
class UnaryJob : public SamplingJob {
 public:
  UnaryJob(JobReactor& reactor, const grpc::ByteBuffer& message, grpc::ByteBuffer& response,
           CallContext call_context)
      : call_context_(std::move(call_context)),
        received_(call_context_),
        message_(message),
        reactor_(reactor),
        response_(response),
        answer_memory_(call_context_.ledger, Account::kAnswers) {}

 protected:
  // Serialises the answer if the status is OK, empties it and ends the call. Done must call this
  // last.
  void Complete(absl::Status status, Response& answer) {
    results = {};
    if (status.ok()) status = SerializeMessage(answer, response_);
    // A cleared message keeps the memory of its lists for the next one. Free it if it is large.
    constexpr size_t kLargeBytes = size_t{4} << 10;
    if (status.ok() && response_.Length() <= kLargeBytes) {
      answer.Clear();
    } else {
      Response().Swap(&answer);
    }
    received_.Clear();
    LetGo(message_);
    answer_memory_.ShrinkTo(response_.Length());
    reactor_.Complete(status);
  }

  const CallContext call_context_;
  ReceivedMessage<Request> received_;
  const grpc::ByteBuffer& message_;

  // Asks the ledger for the memory that the answer and its results will take.
  absl::Status GrantAnswer(uint64_t needed) { return answer_memory_.Grow(needed); }

 private:
  JobReactor& reactor_;
  grpc::ByteBuffer& response_;
  MemoryGrant answer_memory_;
};

class SampleJob final : public UnaryJob<v1::SampleRequest, v1::SampleResponse> {
 public:
  using UnaryJob::UnaryJob;

  absl::Status Decode() {
    RETURN_IF_ERROR(received_.Parse(message_));
    RETURN_IF_ERROR(received_.CheckFields());
    RETURN_IF_ERROR(DecodeSample(received_.request(), call_context_, decoded_, received_.data()));
    RETURN_IF_ERROR(GrantAnswer(decoded_.answer.memory));
    rows = std::move(decoded_.inputs);
    bytes = received_.bytes();
    return absl::OkStatus();
  }

  void Done(const absl::Status& sampled) override {
    const absl::Status status = CallStatus(sampled, std::move(decoded_.region_rows));
    static thread_local v1::SampleResponse response;
    if (status.ok()) {
      FinishCandidates(decoded_.candidates, absl::MakeSpan(results));
      EncodeSample(decoded_, results, response);
    }
    decoded_.Release();
    Complete(status, response);
  }

 private:
  DecodedSample decoded_;
};

class VerifyDraftJob final : public UnaryJob<v1::VerifyDraftRequest, v1::VerifyDraftResponse> {
 public:
  VerifyDraftJob(JobReactor& reactor, const grpc::ByteBuffer& message, grpc::ByteBuffer& response,
                 CallContext call_context)
      : UnaryJob(reactor, message, response, std::move(call_context)) {
    runs_alone = true;
  }

  absl::Status Decode() {
    RETURN_IF_ERROR(received_.Parse(message_));
    LetGo(message_);
    RETURN_IF_ERROR(received_.CheckFields());
    RETURN_IF_ERROR(DecodeVerifyDraft(received_.request(), call_context_, decoded_));
    RETURN_IF_ERROR(GrantAnswer(DraftAnswerBytes(decoded_)));
    WorkEstimator estimator;
    for (const DraftInput& draft : decoded_.inputs) work += estimator.OfDraft(draft);
    rows = std::move(decoded_.rows);  // for the batcher to count; moving the vector leaves the rows
                                      // in place
    bytes = received_.bytes();
    return absl::OkStatus();
  }

  absl::Status Run(Sampler& sampler) override {
    MemoryGrant memory(call_context_.ledger, Account::kWork);
    RETURN_IF_ERROR(memory.Grow(DraftWorkBytes(decoded_)));
    results_.resize(decoded_.inputs.size());
    return VerifyDrafts(sampler, decoded_.inputs, absl::MakeSpan(results_));
  }

  void Done(const absl::Status& sampled) override {
    const absl::Status status = CallStatus(CallStatus(sampled, std::move(decoded_.target_rows)),
                                           std::move(decoded_.draft_rows));
    v1::VerifyDraftResponse response;
    if (status.ok()) EncodeVerifyDraft(decoded_, results_, response);
    Complete(status, response);
  }

 private:
  DecodedDrafts decoded_;
  std::vector<DraftResult> results_;
};

class DescribeJob final : public UnaryJob<v1::DescribeRequest, v1::DescribeResponse> {
 public:
  DescribeJob(JobReactor& reactor, const grpc::ByteBuffer& message, grpc::ByteBuffer& response,
              CallContext call_context)
      : UnaryJob(reactor, message, response, std::move(call_context)) {
    runs_alone = true;
  }

  absl::Status Decode() {
    RETURN_IF_ERROR(received_.Parse(message_));
    LetGo(message_);
    RETURN_IF_ERROR(received_.CheckFields());
    ASSIGN_OR_RETURN(top_n_, DecodeDescribe(received_.request(), call_context_, decoded_));
    RETURN_IF_ERROR(GrantAnswer(decoded_.answer.memory));
    rows = std::move(decoded_.inputs);
    work = WorkEstimator().OfDescription(rows[0]);
    bytes = received_.bytes();
    return absl::OkStatus();
  }

  absl::Status Run(Sampler&) override {
    MemoryGrant memory(call_context_.ledger, Account::kWork);
    RETURN_IF_ERROR(memory.Grow(DescribeWorkBytes(rows[0])));
    RowResult result;
    const std::vector<StageView> views = DescribeRow(rows[0], top_n_, result);
    EncodeDescribe(decoded_, views, result, response_);
    return absl::OkStatus();
  }

  void Done(const absl::Status& status) override {
    Complete(CallStatus(status, std::move(decoded_.region_rows)), response_);
  }

 private:
  DecodedSample decoded_;
  uint32_t top_n_ = 0;
  v1::DescribeResponse response_;
};

// Decodes the request of a new call and submits its job, or answers with the error.
template <typename Job>
grpc::ServerUnaryReactor* Start(Batcher& batcher, OpenCalls& calls,
                                grpc::CallbackServerContext* context,
                                const ServerContext& server_context,
                                const grpc::ByteBuffer& request, grpc::ByteBuffer& response) {
  auto* reactor = new JobReactor(batcher, calls, context);
  // Refusing must be cheap, so make no job if there is no room for it.
  absl::Status status = reactor->CheckCaller();
  std::shared_ptr<Job> job;
  if (status.ok()) {
    job = std::make_shared<Job>(*reactor, request, response,
                                server_context.ForCaller(reactor->identity()));
    status = job->Decode();
  }
  if (status.ok()) {
    reactor->Submit(std::move(job));
  } else {
    reactor->Complete(status);
  }
  return reactor;
}

// Refuses fields that do not belong to the request's kind of region.
absl::Status RegisterOne(const v1::RegisterRegionRequest& request, const CallIdentity& caller,
                         RegionRegistry& regions) {
  if (request.kind() == v1::REGION_KIND_SYSTEM) {
    if (request.has_cuda_handle() || request.has_cuda_event() || request.has_device()) {
      return Invalid("cuda_handle, cuda_event and device must not be set for kind SYSTEM");
    }
    return regions.Register(
        request.name(),
        SystemRegionRequest{
            .key = request.key(), .offset = request.offset(), .byte_size = request.byte_size()},
        caller);
  }
  if (request.kind() != v1::REGION_KIND_CUDA) return Invalid("kind must be SYSTEM or CUDA");
  if (request.has_key()) return Invalid("key must not be set for kind CUDA");
  return regions.Register(request.name(),
                          CudaRegionRequest{.handle = request.cuda_handle(),
                                            .event = request.cuda_event(),
                                            .device = request.device(),
                                            .offset = request.offset(),
                                            .byte_size = request.byte_size()},
                          caller);
}

}  // namespace

SamplingService::SamplingService(Batcher& batcher, OpenCalls& calls, const Sampler& sampler,
                                 const ServerContext& context,
                                 const SequenceLimits& sequence_limits,
                                 v1::GetServerInfoResponse info)
    : batcher_(batcher),
      calls_(calls),
      sampler_(sampler),
      context_(context),
      sequence_limits_(sequence_limits),
      info_(std::move(info)) {
  const auto strictly = [this](absl::string_view name, auto method) {
    TakeStrictly(v1::TokenSampler::service_full_name(), name, this, method);
  };
  strictly("GetServerInfo", &SamplingService::GetServerInfo);
  strictly("RegisterRegion", &SamplingService::RegisterRegion);
  strictly("UnregisterRegion", &SamplingService::UnregisterRegion);
  strictly("ListRegions", &SamplingService::ListRegions);
}

grpc::ServerUnaryReactor* SamplingService::Sample(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* request,
                                                  grpc::ByteBuffer* response) {
  return Start<SampleJob>(batcher_, calls_, context, context_, *request, *response);
}

grpc::ServerUnaryReactor* SamplingService::VerifyDraft(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  return Start<VerifyDraftJob>(batcher_, calls_, context, context_, *request, *response);
}

grpc::ServerUnaryReactor* SamplingService::Describe(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  return Start<DescribeJob>(batcher_, calls_, context, context_, *request, *response);
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
  return SequenceStream::Begin(
      std::make_shared<SequenceStream>(batcher_, calls_, context, context_, sequence_limits_));
}

grpc::ServerUnaryReactor* SamplingService::RegisterRegion(grpc::CallbackServerContext* context,
                                                          const v1::RegisterRegionRequest* request,
                                                          v1::RegisterRegionResponse*) {
  if (absl::Status status = CheckFields(*request); !status.ok()) return Reply(context, status);
  return Reply(context, RegisterOne(*request, IdentityOfPeer(context->peer()), context_.regions));
}

grpc::ServerUnaryReactor* SamplingService::UnregisterRegion(
    grpc::CallbackServerContext* context, const v1::UnregisterRegionRequest* request,
    v1::UnregisterRegionResponse*) {
  const CallIdentity caller = IdentityOfPeer(context->peer());
  absl::Status status = CheckFields(*request);
  if (status.ok()) status = context_.regions.CheckUse(caller);
  if (!status.ok()) return Reply(context, status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto released = [reactor] { reactor->Finish(grpc::Status::OK); };
  if (request->name().empty()) {
    context_.regions.UnregisterAll(caller, released);
  } else if (status = context_.regions.Unregister(request->name(), caller, released);
             !status.ok()) {
    reactor->Finish(ToGrpcStatus(status));
  }
  return reactor;
}

grpc::ServerUnaryReactor* SamplingService::ListRegions(grpc::CallbackServerContext* context,
                                                       const v1::ListRegionsRequest* request,
                                                       v1::ListRegionsResponse* response) {
  const CallIdentity caller = IdentityOfPeer(context->peer());
  absl::Status status = CheckFields(*request);
  if (status.ok()) status = context_.regions.CheckUse(caller);
  if (!status.ok()) return Reply(context, status);
  for (const RegionRegistry::Listed& listed : context_.regions.List(caller)) {
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
