// A request that creates, copies or shortens long sequences of a stream, on its way through the
// batcher.

#ifndef TOKEN_SAMPLER_SERVER_SEQUENCES_CHANGE_JOB_H_
#define TOKEN_SAMPLER_SERVER_SEQUENCES_CHANGE_JOB_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "sampler/rows/pace.h"
#include "sampler/rows/paced.h"
#include "server/batching/sampling_job.h"

namespace token_sampler {

// Samples nothing: its one empty row carries the pace.
class ChangeJob final : public SamplingJob {
 public:
  using Change = std::function<absl::Status(Pace*)>;
  using Finish = std::function<void(const absl::Status&)>;

  // `nanoseconds` estimates the work of `change`, which may throw Interrupted: then the stream is
  // over. Done() calls `finish` once.
  ChangeJob(uint64_t nanoseconds, Change change, Finish finish)
      : change_(std::move(change)), finish_(std::move(finish)) {
    runs_alone = true;
    work = nanoseconds;
    rows.resize(1);
  }

  absl::Status Run(Sampler&) override {
    absl::Status status;
    RunPaced([&] { status = change_(rows[0].pace); },
             [&] { status = absl::CancelledError("interrupted"); });
    return status;
  }

  void Done(const absl::Status& status) override { finish_(status); }

 private:
  const Change change_;
  const Finish finish_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_SEQUENCES_CHANGE_JOB_H_
