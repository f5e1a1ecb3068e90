// Tests how fast peers may make new connections.

#include "server/listener/connection_rate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"

namespace token_sampler {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ConnectionRateTest : public ::testing::Test {
 protected:
  // Returns how many of 1,000 simultaneous connections are accepted.
  int Storm(const std::string& group) {
    int taken = 0;
    for (int i = 0; i < 1000; ++i) taken += rate_.Take(group, now_) ? 1 : 0;
    return taken;
  }

  ConnectionRate::Time now_ = ConnectionRate::Time(seconds(1000));
  ConnectionRate rate_{10, 50};
};

TEST_F(ConnectionRateTest, TakesABurstAndThenTheRate) {
  EXPECT_EQ(Storm("a"), 50);
  for (int i = 0; i < 20; ++i) {
    now_ += milliseconds(99);
    EXPECT_EQ(Storm("a"), 0);
    now_ += milliseconds(1);
    EXPECT_EQ(Storm("a"), 1);
  }
}

TEST_F(ConnectionRateTest, RestsUpToTheBurst) {
  EXPECT_EQ(Storm("a"), 50);
  now_ += seconds(2);
  EXPECT_EQ(Storm("a"), 20);
  now_ += seconds(1000);
  EXPECT_EQ(Storm("a"), 50);
}

TEST_F(ConnectionRateTest, GroupsAreApart) {
  EXPECT_EQ(Storm("a"), 50);
  EXPECT_EQ(Storm("b"), 50);
}

TEST_F(ConnectionRateTest, ForgetsGroupsThatRest) {
  for (int i = 0; i < 100'000; ++i) {
    now_ += milliseconds(1);
    ASSERT_TRUE(rate_.Take(absl::StrCat(i), now_));
    ASSERT_LE(rate_.groups(), 10'000u);
  }
}

TEST_F(ConnectionRateTest, KeepsThoseThatDoNotRest) {
  EXPECT_EQ(Storm("a"), 50);
  for (int i = 0; i < 11'000; ++i) {
    if (i % 100 == 0) now_ += milliseconds(20);
    ASSERT_TRUE(rate_.Take(absl::StrCat(i), now_));
  }
  EXPECT_LE(Storm("a"), 22);
}

}  // namespace
}  // namespace token_sampler
