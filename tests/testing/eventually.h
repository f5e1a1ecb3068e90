// Waits for something that another thread, or the other end of a connection, does.

#ifndef TOKEN_SAMPLER_TESTS_TESTING_EVENTUALLY_H_
#define TOKEN_SAMPLER_TESTS_TESTING_EVENTUALLY_H_

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace token_sampler::testing {

// Yields until the condition holds, for conditions that nothing tells about, such as a counter of
// the server. It does not sleep, so a test goes on as soon as it can. The limit only makes a test
// fail that would otherwise wait for ever: no machine is so busy that it comes near.
//
// While a test holds back calls that its destructors wait for, use it with EXPECT_TRUE: ASSERT_TRUE
// would return, and never let them go.
template <typename Condition>
::testing::AssertionResult Eventually(Condition condition) {
  constexpr std::chrono::seconds kLimit(60);
  const auto end = std::chrono::steady_clock::now() + kLimit;
  bool last = false;
  while (!condition()) {
    if (last) {
      return ::testing::AssertionFailure() << "not within " << kLimit.count() << " s";
    }
    std::this_thread::yield();
    last = std::chrono::steady_clock::now() > end;
  }
  return ::testing::AssertionSuccess();
}

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_TESTING_EVENTUALLY_H_
