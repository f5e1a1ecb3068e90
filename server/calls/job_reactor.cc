#include "server/calls/job_reactor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "server/calls/status_mapping.h"

namespace token_sampler {
namespace {

// The time after which a refused caller should retry (gRPC proposal A6), unless the queue sets its
// own.
constexpr std::chrono::milliseconds kRetryAfter(50);

}  // namespace

void JobReactor::Submit(std::shared_ptr<SamplingJob> job) {
  job->deadline = std::min<TimePoint>(job->deadline, context_->deadline());
  const uint32_t priority = job->identity.priority;
  job->identity = std::move(caller_.identity);
  job->identity.priority = std::max(priority, job->identity.priority);
  job_ = job;
  entered_ = calls_.Enter();
  const absl::Status status = entered_ ? batcher_.Submit(job) : OpenCalls::Refusal();
  if (!status.ok()) job->Done(status);
}

void JobReactor::Complete(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    std::chrono::milliseconds wait = job_ == nullptr ? retry_after_ : job_->retry_after;
    if (wait.count() == 0) wait = kRetryAfter;
    context_->AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(wait.count()));
  }
  if (status.code() == absl::StatusCode::kInternal) {
    spdlog::error("sampling failed: {}", std::string(status.message()));
  }
  Finish(ToGrpcStatus(status));
}

void JobReactor::OnCancel() {
  if (job_ != nullptr) batcher_.Cancel(*job_);
}

void JobReactor::OnDone() {
  if (entered_) calls_.Leave();
  delete this;
}

}  // namespace token_sampler
