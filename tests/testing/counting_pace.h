// A pace that counts how often it is asked.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_COUNTING_PACE_H_
#define TOKEN_SAMPLER_TESTS_TESTING_COUNTING_PACE_H_

#include <atomic>
#include <cstdint>

#include "sampler/rows/pace.h"

namespace token_sampler::testing {

// GoOn() is true for the first `go_on` calls and false from then on. Any thread may call it.
class CountingPace final : public Pace {
 public:
  explicit CountingPace(int64_t go_on = INT64_MAX) : go_on_(go_on) {}

  bool GoOn() override { return asked_++ < go_on_; }

  int64_t asked() const { return asked_; }

 private:
  const int64_t go_on_;
  std::atomic<int64_t> asked_ = 0;
};

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_COUNTING_PACE_H_
