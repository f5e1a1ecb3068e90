#include "server/kserve/infer_job.h"

#include <algorithm>
#include <utility>

#include "client/usage/counted.h"
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
  if (!status.ok()) return call_.names.Translate(status);
  for (std::string& error : decoded_.row_errors) error = call_.names.Translate(error);
  if (status = CheckWidths(); !status.ok()) return status;
  rows = std::move(decoded_.inputs);
  bytes = call_.input_bytes;
  for (const RowInput& row : rows) bytes += ValueBytes(row);
  times_.queued = Clock::System().Now();
  if (call_.timeout.has_value()) deadline = times_.queued + *call_.timeout;
  return absl::OkStatus();
}

absl::Status InferJob::CheckWidths() {
  uint64_t kept = 0;
  for (const RowInput& row : decoded_.inputs) {
    draws_ = std::max(draws_, row.params->num_samples);
    kept = std::max(kept, MostKept(row));
  }
  for (const auto& [output, place, region] : call_.outputs) {
    uint64_t width = draws_;
    if (output->width == OutputWidth::kKept) width = kept;
    if (output->width == OutputWidth::kRelaxed) width *= call_.request.tensor().vocab();
    const uint64_t elements = decoded_.keys.size() * width;
    if (elements <= kMaxValuesPerCall) continue;
    return Invalid("outputs.", output->name, " of ", Counted(decoded_.keys.size(), "row"),
                   " and up to ", Counted(width, "column"), " could hold ", elements,
                   " elements, at most ", kMaxValuesPerCall, " may be");
  }
  return absl::OkStatus();
}

void InferJob::Done(const absl::Status& status_of_sampling) {
  absl::Status status =
      call_.names.Translate(CallStatus(status_of_sampling, std::move(decoded_.region_rows)));
  times_.taken = taken;
  times_.sampled = Clock::System().Now();
  if (status.ok()) {
    v1::SampleResponse sampled;
    EncodeSample(decoded_, results, sampled);
    status = TranslateResponse(call_, draws_, sampled, response_);
  }
  call_.outputs.clear();  // as CallStatus: nothing of a region is left when the answer goes
  if (!status.ok()) {
    response_.Clear();  // of the outputs that were written before the error
    statistics_.CountFailure(times_.received, Clock::System().Now());
    finish_(status);
    return;
  }
  times_.answered = Clock::System().Now();
  statistics_.CountSuccess(times_, decoded_.keys.size());
  finish_(status);
}

}  // namespace token_sampler
