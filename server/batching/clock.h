// The time as an interface, so that tests decide when a deadline passes.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_CLOCK_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_CLOCK_H_

#include <chrono>

namespace token_sampler {

using TimePoint = std::chrono::system_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;

  // The machine's clock. Never deleted.
  static const Clock& System();
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_CLOCK_H_
