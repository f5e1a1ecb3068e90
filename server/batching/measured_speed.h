// How long work takes on this machine: what its estimate is to be multiplied with.

#ifndef TOKEN_SAMPLER_SERVER_BATCHING_MEASURED_SPEED_H_
#define TOKEN_SAMPLER_SERVER_BATCHING_MEASURED_SPEED_H_

#include <algorithm>
#include <chrono>

namespace token_sampler {

// The ratio of measured to estimated time over about the last 100 ms of work, 1 at the start. Not
// thread-safe.
class MeasuredSpeed {
 public:
  // Work of `estimated` took `measured`. A clock that was set back teaches nothing.
  void Add(std::chrono::nanoseconds estimated, std::chrono::nanoseconds measured) {
    if (measured.count() <= 0) return;
    estimated_ += static_cast<double>(estimated.count());
    measured_ += static_cast<double>(measured.count());
    if (measured_ < 2 * kRemembered) return;
    estimated_ /= 2;
    measured_ /= 2;
  }

  // In [1/64, 8], whatever was measured: a few calls that are not what they seem must not make all
  // others long, nor a device that is fast at them endless ones short.
  double factor() const { return std::clamp(measured_ / estimated_, 1.0 / 64, 8.0); }

 private:
  static constexpr double kRemembered = 50e6;

  double estimated_ = kRemembered;
  double measured_ = kRemembered;
};

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SERVER_BATCHING_MEASURED_SPEED_H_
