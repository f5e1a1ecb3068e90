// Tests that memory is granted to callers up to the budget, refused beyond it, and given back.

#include "server/memory/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace token_sampler {
namespace {

using ::testing::HasSubstr;

TEST(LedgerTest, GrantsUpToTheBudgetOfAllAccounts) {
  Ledger ledger(100);
  MemoryGrant requests(&ledger, Account::kRequests);
  MemoryGrant answers(&ledger, Account::kAnswers);
  ASSERT_TRUE(requests.Grow(60).ok());
  ASSERT_TRUE(answers.Grow(40).ok());
  EXPECT_EQ(ledger.used(), 100u);
  EXPECT_EQ(ledger.used(Account::kRequests), 60u);
  EXPECT_EQ(ledger.used(Account::kAnswers), 40u);
}

TEST(LedgerTest, ARefusalSaysWhatWasAskedAndWhatIsLeftAndTakesNothing) {
  Ledger ledger(100);
  MemoryGrant requests(&ledger, Account::kRequests);
  MemoryGrant answers(&ledger, Account::kAnswers);
  ASSERT_TRUE(requests.Grow(60).ok());
  const absl::Status status = answers.Grow(41);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(std::string(status.message()),
            "answers would need 41 bytes more, 40 of the server's 100 (--memory-budget) are left");
  EXPECT_EQ(answers.bytes(), 0u);
  EXPECT_EQ(ledger.used(), 60u);
  EXPECT_EQ(ledger.used(Account::kAnswers), 0u);
  EXPECT_FALSE(answers.Grow(~uint64_t{0}).ok());
}

TEST(LedgerTest, AnAccountHasItsOwnLimit) {
  Ledger ledger(100);
  ledger.LimitAccount(Account::kSequences, 10, "--max-sequence-bytes", "close some");
  MemoryGrant sequences(&ledger, Account::kSequences);
  ASSERT_TRUE(sequences.Grow(8).ok());
  const absl::Status status = sequences.Grow(3);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(std::string(status.message()),
            "sequences hold 8 bytes and would need 3 more, above the limit of 10 "
            "(--max-sequence-bytes); close some");
  MemoryGrant requests(&ledger, Account::kRequests);
  EXPECT_TRUE(requests.Grow(92).ok());
  EXPECT_THAT(std::string(sequences.Grow(1).message()), HasSubstr("--memory-budget"));
  EXPECT_EQ(ledger.used(Account::kSequences), 8u);
}

TEST(LedgerTest, AGrantGivesBackWhatItShrinksByAndTheRestWhenItGoes) {
  Ledger ledger(100);
  {
    MemoryGrant grant(&ledger, Account::kAnswers);
    ASSERT_TRUE(grant.Grow(80).ok());
    grant.ShrinkTo(30);
    EXPECT_EQ(ledger.used(), 30u);
    grant.ShrinkTo(50);
    EXPECT_EQ(grant.bytes(), 30u);
    const MemoryGrant moved = std::move(grant);
    EXPECT_EQ(moved.bytes(), 30u);
    EXPECT_EQ(ledger.used(), 30u);
  }
  EXPECT_EQ(ledger.used(), 0u);
  EXPECT_EQ(ledger.peak(), 80u);
}

TEST(LedgerTest, WithoutALedgerEverythingIsGranted) {
  MemoryGrant grant(nullptr, Account::kWork);
  EXPECT_TRUE(grant.Grow(uint64_t{1} << 60).ok());
  EXPECT_EQ(grant.bytes(), uint64_t{1} << 60);
}

TEST(LedgerTest, ThreadsNeverHoldMoreThanTheBudgetTogether) {
  constexpr uint64_t kBudget = 1000;
  Ledger ledger(kBudget);
  std::vector<std::thread> threads;
  for (uint64_t t = 1; t <= 4; ++t) {
    threads.emplace_back([&ledger, t] {
      const auto account = static_cast<Account>(t % kAccounts);
      for (int i = 0; i < 2000; ++i) {
        MemoryGrant grant(&ledger, account);
        if (grant.Grow(100 * t).ok() && grant.Grow(50 * t).ok()) grant.ShrinkTo(20);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(ledger.peak(), kBudget);
  EXPECT_GT(ledger.peak(), 0u);
  EXPECT_EQ(ledger.used(), 0u);
}

}  // namespace
}  // namespace token_sampler
