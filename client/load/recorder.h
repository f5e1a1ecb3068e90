// Collects the measurements of a load test.

#ifndef TOKEN_SAMPLER_CLIENT_LOAD_RECORDER_H_
#define TOKEN_SAMPLER_CLIENT_LOAD_RECORDER_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/load/histogram.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

struct Measurements {
  Histogram latency_ns;  // of successful calls: only these count as throughput
  uint64_t rows = 0;     // of successful calls, that came back with tokens
  uint64_t bytes = 0;    // sent in successful calls
  uint64_t failed_rows = 0;
  uint64_t failed_calls = 0;
  std::map<std::string, uint64_t> errors;  // the failed calls by status code

  uint64_t calls() const { return latency_ns.count(); }
};

// Thread-safe.
class Recorder {
 public:
  void Record(absl::Duration latency, int64_t request_bytes,
              const absl::StatusOr<SampleResult>& result);

  // The figures recorded so far.
  Measurements Snapshot() const;

 private:
  mutable std::mutex mutex_;
  Measurements measurements_;  // guarded by mutex_
};

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_LOAD_RECORDER_H_
