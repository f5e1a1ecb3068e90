#include "server/operation/progress_watch.h"

namespace token_sampler {

bool ProgressWatch::Look(const BatcherCounters& counters, TimePoint now) {
  const uint64_t begun = counters.batches + counters.turns;
  if (counters.waiting == 0 || begun != begun_) {
    begun_ = begun;
    waiting_since_.reset();
    return true;
  }
  if (!waiting_since_.has_value()) waiting_since_ = now;
  return now - *waiting_since_ <= patience_;
}

}  // namespace token_sampler
