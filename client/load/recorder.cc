#include "client/load/recorder.h"

namespace token_sampler::client {

void Recorder::Record(absl::Duration latency, int64_t request_bytes,
                      const absl::StatusOr<SampleResult>& result) {
  uint64_t failed_rows = 0;
  if (result.ok()) {
    for (const RowResult& row : result->rows) failed_rows += row.failed() ? 1 : 0;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!result.ok()) {
    ++measurements_.failed_calls;
    ++measurements_.errors[absl::StatusCodeToString(result.status().code())];
    return;
  }
  measurements_.latency_ns.Record(static_cast<uint64_t>(absl::ToInt64Nanoseconds(latency)));
  measurements_.rows += result->rows.size() - failed_rows;
  measurements_.failed_rows += failed_rows;
  measurements_.bytes += static_cast<uint64_t>(request_bytes);
}

Measurements Recorder::Snapshot() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return measurements_;
}

}  // namespace token_sampler::client
