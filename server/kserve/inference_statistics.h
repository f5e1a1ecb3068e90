// The counts and durations of inference calls since the start, which ModelStatistics reports.

#ifndef TOKEN_SAMPLER_SERVER_KSERVE_INFERENCE_STATISTICS_H_
#define TOKEN_SAMPLER_SERVER_KSERVE_INFERENCE_STATISTICS_H_

#include <cstdint>

#include "inference/grpc_inference_service.pb.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"

namespace token_sampler {

// When one call reached each point of its way.
struct InferenceTimes {
  TimePoint received;
  TimePoint queued;
  TimePoint taken;
  TimePoint sampled;
  TimePoint answered;
};

// Thread-safe.
class InferenceStatistics {
 public:
  void CountSuccess(const InferenceTimes& times, uint64_t rows);
  void CountFailure(TimePoint received, TimePoint answered);

  inference::ModelStatistics Get() const;

 private:
  mutable Mutex mutex_;
  inference::ModelStatistics total_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_KSERVE_INFERENCE_STATISTICS_H_
