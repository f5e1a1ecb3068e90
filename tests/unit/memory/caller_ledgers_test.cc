// What one caller may hold, and who counts as one.

#include "server/memory/caller_ledgers.h"

#include <gtest/gtest.h>

#include <string>

namespace token_sampler {
namespace {

TEST(CallerLedgersTest, ACallerIsAnAddressWithoutItsPort) {
  EXPECT_EQ(CallerOf("ipv4:10.0.0.7:1"), CallerOf("ipv4:10.0.0.7:2"));
  EXPECT_NE(CallerOf("ipv4:10.0.0.7:1"), CallerOf("ipv4:10.0.0.8:1"));
  EXPECT_EQ(CallerOf("unix:/run/a"), CallerOf("unix:/run/a"));
  EXPECT_EQ(CallerOf("unix:"), "unix:");
}

TEST(CallerLedgersTest, ANetworkOfIpv6IsOneCaller) {
  EXPECT_EQ(CallerOf("ipv6:%5B2001:db8::1%5D:1"), CallerOf("ipv6:[2001:db8::2]:2"));
  EXPECT_NE(CallerOf("ipv6:%5B2001:db8::1%5D:1"), CallerOf("ipv6:%5B2001:db8:0:1::1%5D:1"));
  EXPECT_EQ(CallerOf("ipv6:%5Bfe80::1%25eth0%5D:1"), CallerOf("ipv6:%5Bfe80::2%25eth0%5D:2"));
  EXPECT_NE(CallerOf("ipv6:%5B::ffff:10.0.0.7%5D:1"), CallerOf("ipv6:%5B::ffff:10.0.0.8%5D:1"));
}

TEST(CallerLedgersTest, OneCallerLeavesAQuarterToOthers) {
  Ledger all(100);
  CallerLedgers callers(all);
  Ledger& greedy = callers.Of("ipv4:10.0.0.1:1");
  EXPECT_EQ(&greedy, &callers.Of("ipv4:10.0.0.1:2"));
  MemoryGrant most(&greedy, Account::kAnswers);
  ASSERT_TRUE(most.Grow(75).ok());
  const absl::Status status = most.Grow(1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(std::string(status.message()),
            "answers would need 1 bytes more, 0 of the 75 that one caller may hold of "
            "--memory-budget are left");
  EXPECT_EQ(all.used(), 75u);
  // Another caller, in a ledger of its own: addresses are tried until there is one.
  int host = 2;
  while (&callers.Of("ipv4:10.0.0." + std::to_string(host) + ":1") == &greedy) ++host;
  Ledger& polite = callers.Of("ipv4:10.0.0." + std::to_string(host) + ":1");
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
