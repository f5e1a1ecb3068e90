// Tests the count of calls that the server has accepted and not yet answered.

#include "server/calls/open_calls.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>

namespace token_sampler {
namespace {

class RecordedStream final : public OpenStream {
 public:
  void End() override { ++ended; }

  int ended = 0;
};

TEST(OpenCallsTest, AcceptsUntilItIsClosed) {
  OpenCalls calls;
  EXPECT_TRUE(calls.Enter());
  calls.Close();
  EXPECT_FALSE(calls.Enter());
  EXPECT_FALSE(calls.Enter(std::make_shared<RecordedStream>()));
  calls.Leave();
}

TEST(OpenCallsTest, CloseEndsTheStreamsThatAreThere) {
  OpenCalls calls;
  const auto open = std::make_shared<RecordedStream>();
  auto gone = std::make_shared<RecordedStream>();
  EXPECT_TRUE(calls.Enter(open));
  EXPECT_TRUE(calls.Enter(gone));
  gone.reset();
  calls.Close();
  calls.Close();
  EXPECT_EQ(open->ended, 1);
}

TEST(OpenCallsTest, WaitsForTheLastCallToLeave) {
  OpenCalls calls;
  EXPECT_TRUE(calls.Enter());
  EXPECT_TRUE(calls.Enter(std::make_shared<RecordedStream>()));
  calls.Close();
  EXPECT_FALSE(calls.Enter());  // and a refused call is not waited for
  bool left = false;
  std::future<bool> seen = std::async(std::launch::async, [&] {
    calls.AwaitNone(TimePoint::max());
    return left;
  });
  calls.Leave();
  left = true;
  calls.Leave();
  EXPECT_TRUE(seen.get());
}

TEST(OpenCallsTest, WaitsNoLongerThanItMay) {
  OpenCalls calls;
  EXPECT_TRUE(calls.Enter());
  calls.Close();
  calls.AwaitNone(std::chrono::system_clock::now());
  calls.Leave();
}

}  // namespace
}  // namespace token_sampler
