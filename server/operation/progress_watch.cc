#include "server/operation/progress_watch.h"

namespace token_sampler {

bool ProgressWatch::Look(const BatcherCounters& counters, TimePoint now) {
  if (counters.waiting == 0 || counters.batches != batches_) {
    batches_ = counters.batches;
    waiting_since_.reset();
    return true;
  }
  if (!waiting_since_.has_value()) waiting_since_ = now;
  return now - *waiting_since_ <= patience_;
}

}  // namespace token_sampler
