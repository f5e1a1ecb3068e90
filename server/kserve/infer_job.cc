#include "server/kserve/infer_job.h"

#include <algorithm>
#include <utility>

#include "server/invalid_argument.h"
#include "server/kserve/infer_response.h"

namespace token_sampler {

InferJob::InferJob(inference::ModelInferResponse& response, InferenceStatistics& statistics,
                   Finish finish)
    : response_(response), statistics_(statistics), finish_(std::move(finish)) {
  times_.received = Clock::System().Now();
}

absl::Status InferJob::Decode(inference::ModelInferRequest& request, const RequestLimits& limits) {
  if (absl::Status status = TranslateRequest(limits, request, call_); !status.ok()) return status;
  absl::Status status = DecodeSample(call_.request, limits, decoded_);
  if (!status.ok()) return status;
  for (const RowInput& row : decoded_.inputs) draws_ = std::max(draws_, row.params->num_samples);
  const uint64_t token_ids = decoded_.keys.size() * uint64_t{draws_};
  if (token_ids > kMaxValuesPerCall) {
    return Invalid("outputs.token_ids of ", decoded_.keys.size(), " rows and up to ", draws_,
                   " draws would hold ", token_ids, " elements, at most ", kMaxValuesPerCall,
                   " may be");
  }
  rows = std::move(decoded_.inputs);
  bytes = call_.request.tensor().data().size();
  times_.queued = Clock::System().Now();
  if (call_.timeout.has_value()) deadline = times_.queued + *call_.timeout;
  return absl::OkStatus();
}

void InferJob::Done(const absl::Status& status) {
  if (!status.ok()) {
    statistics_.CountFailure(times_.received, Clock::System().Now());
    finish_(status);
    return;
  }
  times_.taken = taken;
  times_.sampled = Clock::System().Now();
  v1::SampleResponse sampled;
  EncodeSample(decoded_, results, sampled);
  TranslateResponse(call_, draws_, sampled, response_);
  times_.answered = Clock::System().Now();
  statistics_.CountSuccess(times_, decoded_.keys.size());
  finish_(status);
}

}  // namespace token_sampler
