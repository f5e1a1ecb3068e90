// Tests the memory bound of a single caller.

#include "server/memory/caller_ledgers.h"

#include <gtest/gtest.h>

#include <string>

namespace token_sampler {
namespace {

TEST(CallerLedgersTest, OneCallerLeavesAQuarterToOthers) {
  Ledger all(100);
  CallerLedgers callers(all);
  Ledger& greedy = callers.Of("a");
  EXPECT_EQ(&greedy, &callers.Of("a"));
  MemoryGrant most(&greedy, Account::kAnswers);
  ASSERT_TRUE(most.Grow(75).ok());
  const absl::Status status = most.Grow(1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(std::string(status.message()),
            "answers would need 1 bytes more, 0 of the 75 that one caller may hold of "
            "--memory-budget are left");
  EXPECT_EQ(all.used(), 75u);
  // Another caller with a different ledger: try names until there is one.
  int name = 0;
  while (&callers.Of(std::to_string(name)) == &greedy) ++name;
  Ledger& polite = callers.Of(std::to_string(name));
  MemoryGrant own(&polite, Account::kAnswers);
  EXPECT_TRUE(own.Grow(25).ok());
  EXPECT_FALSE(own.Grow(1).ok());
  EXPECT_EQ(all.used(), 100u);
  EXPECT_EQ(polite.used(), 25u);
  most.ShrinkTo(0);
  EXPECT_EQ(all.used(Account::kAnswers), 25u);
}

}  // namespace
}  // namespace token_sampler
