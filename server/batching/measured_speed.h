// How long work takes on this machine: the factor between estimated and measured time.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_MEASURED_SPEED_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_MEASURED_SPEED_H_

#include <algorithm>
#include <chrono>

namespace token_sampler {

// The ratio of measured to estimated time over about the last 100 ms of work, 1 at the start. Not
// thread-safe.
class MeasuredSpeed {
 public:
  // Records that work estimated at `estimated` took `measured`. Ignores times that are not above 0,
  // as after a clock was set back.
  void Add(std::chrono::nanoseconds estimated, std::chrono::nanoseconds measured) {
    if (measured.count() <= 0) return;
    estimated_ += static_cast<double>(estimated.count());
    measured_ += static_cast<double>(measured.count());
    if (measured_ < 2 * kRemembered) return;
    estimated_ /= 2;
    measured_ /= 2;
  }

  // The factor for estimates, clamped to [1/64, 8]: a few atypical calls must not make all others
  // seem long, and a fast device must not make endless ones seem short.
  double factor() const { return std::clamp(measured_ / estimated_, 1.0 / 64, 8.0); }

 private:
  static constexpr double kRemembered = 50e6;

  double estimated_ = kRemembered;
  double measured_ = kRemembered;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_MEASURED_SPEED_H_
