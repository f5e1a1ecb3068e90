#include "server/kserve/infer_job.h"

#include <algorithm>
#include <utility>

#include "client/usage/counted.h"
#include "sampler/status_macros.h"
#include "server/codec/invalid_argument.h"
#include "server/kserve/translation/infer_response.h"
#include "server/kserve/translation/infer_tensor.h"

namespace token_sampler {

InferJob::InferJob(inference::ModelInferResponse& response, InferenceStatistics& statistics,
                   Finish finish)
    : response_(response), statistics_(statistics), finish_(std::move(finish)) {
  times_.received = Clock::System().Now();
}

absl::Status InferJob::Decode(inference::ModelInferRequest& request, const CallContext& context) {
  RETURN_IF_ERROR(TranslateRequest(context, request, call_));
  absl::Status status = DecodeSample(call_.request, context, decoded_);
  if (!status.ok()) return call_.names.Translate(status);
  for (std::string& error : decoded_.row_errors) error = call_.names.Translate(error);
  RETURN_IF_ERROR(CheckWidths(context));
  rows = std::move(decoded_.inputs);
  bytes = call_.input_bytes + call_.request.tensor().data().size();
  times_.queued = Clock::System().Now();
  if (call_.timeout.has_value()) deadline = times_.queued + *call_.timeout;
  identity.priority = call_.priority;
  return absl::OkStatus();
}

absl::Status InferJob::CheckWidths(const CallContext& context) {
  constexpr uint64_t kTensorBytes = 1024;     // its name, datatype, shape and place
  constexpr uint64_t kRowMessageBytes = 256;  // of a row that failed
  constexpr uint64_t kCopies = 4;  // a string that grows by doubling, and the message's bytes
  uint64_t all = 0;                // bytes of outputs, wherever they go
  uint64_t kept = 0;
  for (const RowInput& row : decoded_.inputs) {
    draws_ = std::max(draws_, row.params->num_samples);
    kept = std::max(kept, SizeOf(row).most_kept);
  }
  for (const auto& [output, place, region] : call_.outputs) {
    uint64_t width = draws_;
    if (output->width == OutputWidth::kKept) width = kept;
    if (output->width == OutputWidth::kRelaxed) width *= call_.request.tensor().vocab();
    if (output->width == OutputWidth::kTopLogprobs) width = decoded_.outputs.top_logprobs;
    if (output->width == OutputWidth::kOne) width = 1;
    const uint64_t elements = decoded_.keys.size() * width;
    if (elements <= kMaxValuesPerCall) {
      ASSIGN_OR_RETURN(const size_t element_size, DatatypeSize(output->datatype));
      const uint64_t size =
          kTensorBytes + elements * (element_size > 0 ? element_size : kRowMessageBytes);
      all += size;
      answer_.message += place.has_value() ? kTensorBytes : size;
      continue;
    }
    return Invalid("outputs.", output->name, " must hold at most ", kMaxValuesPerCall,
                   " elements, could hold ", elements, ": ", Counted(decoded_.keys.size(), "row"),
                   " with up to ", Counted(width, "column"));
  }
  answer_.memory = decoded_.answer.memory + all * kCopies;
  if (answer_.message <= context.limits.max_response_bytes) return absl::OkStatus();
  return Invalid("outputs must have at most ", context.limits.max_response_bytes,
                 " bytes together (--max-response-bytes), could have ", answer_.message,
                 ": name fewer, or send fewer rows");
}

void InferJob::Done(const absl::Status& status_of_sampling) {
  absl::Status status =
      call_.names.Translate(CallStatus(status_of_sampling, std::move(decoded_.region_rows)));
  times_.taken = taken;
  times_.sampled = Clock::System().Now();
  if (status.ok()) {
    v1::SampleResponse sampled;
    EncodeSample(decoded_, results, sampled);
    results = {};
    status = TranslateResponse(call_, draws_, sampled, response_);
  }
  results = {};
  decoded_.Release();
  v1::SampleRequest().Swap(&call_.request);
  if (call_.memory.has_value()) call_.memory->ShrinkTo(0);
  call_.outputs.clear();  // as CallStatus() does: release regions before the answer goes
  if (!status.ok()) {
    response_.Clear();  // removes outputs written before the error
    statistics_.CountFailure(times_.received, Clock::System().Now());
    finish_(status);
    return;
  }
  times_.answered = Clock::System().Now();
  statistics_.CountSuccess(times_, decoded_.keys.size());
  finish_(status);
}

}  // namespace token_sampler
