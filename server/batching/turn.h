// The state that a thread that runs a job by turns shares with the executors that lend the turns.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_TURN_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_TURN_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "sampler/rows/pace.h"
#include "sampler/sampler.h"
#include "server/batching/batcher.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"

namespace token_sampler {

inline absl::Status CallerGone() { return absl::CancelledError("the caller has gone"); }

// The batcher's mutex guards everything except the call of GoOn().
struct Turn final : Pace {
  enum class State {
    kRunning,  // its threads work, or start
    kWaiting,  // they wait in GoOn for the next turn
    kOver,     // it gets no more turns
  };

  Turn(Batcher& its_batcher, SamplingJob& its_job) : batcher(its_batcher), job(its_job) {}

  bool GoOn() override { return batcher.GoOn(*this); }

  Batcher& batcher;
  SamplingJob& job;
  State state = State::kRunning;
  bool yields = true;  // false: it keeps its turn, and can only be ended
  absl::Status end;    // why GoOn() returns false; OK: the result is still wanted
  TimePoint began;     // when the turn began
  CondVar resumed;     // signalled when the next turn begins or the job ends
};

// Ends a computation that samples batch after batch once its result is not wanted any more:
// Sample() then returns Cancelled.
class EndableSampler final : public Sampler {
 public:
  EndableSampler(Sampler& sampler, Pace& pace) : sampler_(sampler), pace_(pace) {}

  absl::string_view name() const override { return sampler_.name(); }
  std::string device() const override { return sampler_.device(); }
  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    if (!pace_.GoOn()) return CallerGone();
    return sampler_.Sample(rows, results);
  }

 private:
  Sampler& sampler_;
  Pace& pace_;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_TURN_H_
