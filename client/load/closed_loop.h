// The closed arrival process: a fixed number of calls in flight, each followed by the next. After a
// failed call there is a pause, which doubles with each further failure.

#ifndef TOKEN_SAMPLER_CLIENT_LOAD_CLOSED_LOOP_H_
#define TOKEN_SAMPLER_CLIENT_LOAD_CLOSED_LOOP_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "client/load/recorder.h"
#include "client/load/workload.h"
#include "token_sampler/sampler_client.h"

namespace token_sampler::client {

struct ClosedLoopOptions {
  int concurrency = 1;                          // calls in flight, >= 1
  absl::Duration duration = absl::Seconds(10);  // no call starts after this
  uint64_t max_calls = UINT64_MAX;              // nor more calls than this
  absl::Duration progress_every = absl::Seconds(1);
  std::function<void(absl::Duration elapsed)> progress;  // may be empty
  std::function<bool()> stopped = {};  // called often; true: no call starts any more
};

// Runs the loop until every started call has ended and is recorded. Returns the time that it took.
absl::Duration RunClosedLoop(const SamplerClient& client, const Workload& workload,
                             const ClosedLoopOptions& options, Recorder& recorder);

}  // namespace token_sampler::client

#endif  // TOKEN_SAMPLER_CLIENT_LOAD_CLOSED_LOOP_H_
