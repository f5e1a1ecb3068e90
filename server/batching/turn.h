// A job that is too long for a slice, between its turns.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_TURN_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_TURN_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "sampler/pace.h"
#include "sampler/sampler.h"
#include "server/batching/batcher.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"

namespace token_sampler {

inline absl::Status CallerGone() { return absl::CancelledError("the caller has gone"); }

// All of it is under the batcher's mutex, but for the call of GoOn.
struct Turn final : Pace {
  enum class State {
    kRunning,  // its threads work
    kWaiting,  // they wait in GoOn for the next turn
    kOver,     // it has none any more
  };

  Turn(Batcher& its_batcher, SamplingJob& its_job) : batcher(its_batcher), job(its_job) {}

  bool GoOn() override { return batcher.GoOn(*this); }

  Batcher& batcher;
  SamplingJob& job;
  State state = State::kRunning;
  bool yields = true;  // false: it can be ended, but keeps its turn
  absl::Status end;    // why nobody wants the result any more: GoOn is false; OK: somebody does
  TimePoint began;     // when the turn did
  CondVar resumed;     // or ended
};

// Ends a computation that samples batch after batch, when nobody wants its result any more.
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
