// Tests that executors that hang are distinguished from executors without work.

#include "server/operation/progress_watch.h"

#include <gtest/gtest.h>

namespace token_sampler {
namespace {

using std::chrono::seconds;

constexpr TimePoint kStart = TimePoint(seconds(1000));

BatcherCounters Counters(uint64_t batches, uint64_t waiting) {
  BatcherCounters counters;
  counters.batches = batches;
  counters.waiting = waiting;
  return counters;
}

TEST(ProgressWatchTest, AnIdleServerGetsOn) {
  ProgressWatch watch(seconds(10));
  for (int s = 0; s < 100; ++s) EXPECT_TRUE(watch.Look(Counters(3, 0), kStart + seconds(s)));
}

TEST(ProgressWatchTest, ABusyServerGetsOn) {
  ProgressWatch watch(seconds(10));
  for (uint64_t s = 0; s < 100; s += 9) {
    EXPECT_TRUE(watch.Look(Counters(s, 500), kStart + seconds(s)));
  }
}

TEST(ProgressWatchTest, CallsThatWaitWithoutABatchShowThatItDoesNot) {
  ProgressWatch watch(seconds(10));
  EXPECT_TRUE(watch.Look(Counters(7, 1), kStart));
  EXPECT_TRUE(watch.Look(Counters(7, 2), kStart + seconds(1)));
  EXPECT_TRUE(watch.Look(Counters(7, 2), kStart + seconds(11)));
  EXPECT_FALSE(watch.Look(Counters(7, 2), kStart + seconds(12)));
  EXPECT_FALSE(watch.Look(Counters(7, 9), kStart + seconds(100)));
  EXPECT_TRUE(watch.Look(Counters(8, 8), kStart + seconds(101)));
  EXPECT_TRUE(watch.Look(Counters(8, 8), kStart + seconds(102)));
}

}  // namespace
}  // namespace token_sampler
