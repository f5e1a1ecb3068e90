// Which rows from the host are left to the CPU: by their work and the bytes of the call, by none as
// long as nothing is measured.

#include "cuda/host_row_policy.h"

#include <gtest/gtest.h>

namespace token_sampler {
namespace {

constexpr HostRowPolicy kPolicy = {.most_bytes = {4000, 300, 20, 0}};

TEST(HostRowPolicyTest, GivesTheCpuEachWorkUpToItsBytes) {
  EXPECT_TRUE(kPolicy.ForCpu(RowWork::kTopK, 4000));
  EXPECT_FALSE(kPolicy.ForCpu(RowWork::kTopK, 4001));
  EXPECT_TRUE(kPolicy.ForCpu(RowWork::kMinP, 300));
  EXPECT_FALSE(kPolicy.ForCpu(RowWork::kMinP, 301));
  EXPECT_TRUE(kPolicy.ForCpu(RowWork::kTopP, 20));
  EXPECT_FALSE(kPolicy.ForCpu(RowWork::kTopP, 21));
  EXPECT_FALSE(kPolicy.ForCpu(RowWork::kUnfiltered, 1));
}

TEST(HostRowPolicyTest, TheFilterThatNarrowsMostIsTheWork) {
  EXPECT_EQ(WorkOf({}), RowWork::kUnfiltered);
  EXPECT_EQ(WorkOf({.top_p = 0.9}), RowWork::kTopP);
  EXPECT_EQ(WorkOf({.top_p = 0.9, .min_p = 0.1}), RowWork::kMinP);
  EXPECT_EQ(WorkOf({.top_k = 5, .top_p = 0.9, .min_p = 0.1}), RowWork::kTopK);
  EXPECT_EQ(WorkOf({.temperature = 0.0, .top_p = 0.9}), RowWork::kTopK);
}

TEST(HostRowPolicyTest, WhatIsNotMeasuredGoesToTheDevice) {
  for (const RowWork work :
       {RowWork::kTopK, RowWork::kMinP, RowWork::kTopP, RowWork::kUnfiltered}) {
    EXPECT_FALSE(kMeasuredHostRowPolicy.ForCpu(work, 1));
  }
}

}  // namespace
}  // namespace token_sampler
