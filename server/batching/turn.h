// A job that is too long for a slice, between its turns.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_TURN_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_TURN_H_

#include "absl/status/status.h"
#include "sampler/pace.h"
#include "server/batching/batcher.h"
#include "server/batching/clock.h"
#include "server/batching/mutex.h"

namespace token_sampler {

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

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_TURN_H_
