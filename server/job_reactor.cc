#include "server/job_reactor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>

#include "server/status_mapping.h"

namespace token_sampler {
namespace {

// When a caller whose job found the queue full should try again (gRPC proposal A6).
constexpr char kRetryPushbackMs[] = "50";

}  // namespace

void JobReactor::Submit(std::shared_ptr<SamplingJob> job) {
  job->deadline = std::min<TimePoint>(job->deadline, context_->deadline());
  job_ = job;
  entered_ = calls_.Enter();
  const absl::Status status = entered_ ? batcher_.Submit(job) : OpenCalls::Refusal();
  if (!status.ok()) job->Done(status);
}

void JobReactor::Complete(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    context_->AddTrailingMetadata("grpc-retry-pushback-ms", kRetryPushbackMs);
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
