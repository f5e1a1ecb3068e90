// Notices when the executors make no progress with waiting jobs.

#ifndef TOKEN_SAMPLER_SERVER_OPERATION_PROGRESS_WATCH_H_
#define TOKEN_SAMPLER_SERVER_OPERATION_PROGRESS_WATCH_H_

#include <chrono>
#include <optional>

#include "server/batching/batcher.h"
#include "server/batching/clock.h"

namespace token_sampler {

// Not thread-safe.
class ProgressWatch {
 public:
  explicit ProgressWatch(std::chrono::milliseconds patience) : patience_(patience) {}

  // Returns false when jobs have waited for longer than the patience and no batch has begun and no
  // turn has been lent meanwhile, as far as these calls can tell. Call it more often than that.
  bool Look(const BatcherCounters& counters, TimePoint now);

 private:
  const std::chrono::milliseconds patience_;
  uint64_t begun_ = 0;                      // batches and turns
  std::optional<TimePoint> waiting_since_;  // and nothing has begun since
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_OPERATION_PROGRESS_WATCH_H_
