// Tests which rows from the host are left to the CPU, depending on their work, the tokens and bytes
// of the call, and the results of a trial.

#include "cuda/plan/host_row_policy.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cuda/plan/host_row_trial.h"

namespace token_sampler {
namespace {

constexpr RowWork kWorks[] = {RowWork::kTopK, RowWork::kMinP, RowWork::kTopP, RowWork::kUnfiltered};

TEST(HostRowPolicyTest, ChoosesWhereACallCostsLess) {
  HostRowPolicy policy;
  policy.costs[static_cast<size_t>(RowWork::kTopP)] = {.cpu = {.fixed = 2.0, .per_unit = 4.0},
                                                       .device = {.fixed = 12.0, .per_unit = 0.5}};
  EXPECT_TRUE(policy.ForCpu(RowWork::kTopP, {.tokens = 4, .bytes = 16}));
  EXPECT_FALSE(policy.ForCpu(RowWork::kTopP, {.tokens = 5, .bytes = 20}));
  // Half as many bytes reach the device sooner.
  EXPECT_FALSE(policy.ForCpu(RowWork::kTopP, {.tokens = 4, .bytes = 8}));
  EXPECT_FALSE(policy.ForCpu(RowWork::kMinP, {.tokens = 4, .bytes = 16}));
}

TEST(HostRowPolicyTest, TheFilterThatNarrowsMostIsTheWork) {
  EXPECT_EQ(WorkOf({}), RowWork::kUnfiltered);
  EXPECT_EQ(WorkOf({.top_p = 0.9}), RowWork::kTopP);
  EXPECT_EQ(WorkOf({.top_p = 0.9, .min_p = 0.1}), RowWork::kMinP);
  EXPECT_EQ(WorkOf({.top_k = 5, .top_p = 0.9, .min_p = 0.1}), RowWork::kTopK);
  EXPECT_EQ(WorkOf({.temperature = 0.0, .top_p = 0.9}), RowWork::kTopK);
}

TEST(HostRowPolicyTest, WhatIsNotMeasuredGoesToTheDevice) {
  for (const RowWork work : kWorks) {
    EXPECT_FALSE(HostRowPolicy().ForCpu(work, {.tokens = 1, .bytes = 4}));
  }
}

// A sampler that takes given times, by a clock that otherwise stands still.
class TimedSampler final : public Sampler {
 public:
  using Cost = double (*)(RowWork work, size_t tokens);
  TimedSampler(double& clock, Cost cost) : clock_(clock), cost_(cost) {}

  absl::string_view name() const override { return "timed"; }
  std::string device() const override { return "a clock"; }
  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult>) override {
    size_t tokens = 0;
    for (const RowInput& row : rows) tokens += static_cast<size_t>(row.vocab);
    // The first call of a kind, and some others, take much longer: therefore the trial uses
    // medians.
    const bool disturbed = calls_++ % 5 == 0;
    clock_ += cost_(WorkOf(*rows[0].params), tokens) + (disturbed ? 1e3 : 0.0);
    return status;
  }

  absl::Status status;

 private:
  double& clock_;
  const Cost cost_;
  int calls_ = 0;
};

class HostRowTrialTest : public testing::Test {
 protected:
  double clock_ = 0.0;
  TimedSampler cpu_{clock_, [](RowWork work, size_t tokens) {
                      const double per_token[] = {1e-10, 2e-10, 1e-9, 4e-9};
                      return 1e-6 +
                             per_token[static_cast<size_t>(work)] * static_cast<double>(tokens);
                    }};
  TimedSampler device_{clock_, [](RowWork, size_t tokens) {
                         return 2e-5 + 4 * 1e-10 * static_cast<double>(tokens);
                       }};

  absl::StatusOr<HostRowPolicy> Try() {
    return cuda::TryHostRows(cpu_, device_, 1000, [this] { return clock_; });
  }
};

TEST_F(HostRowTrialTest, FindsWhatEachSideCosts) {
  const absl::StatusOr<HostRowPolicy> policy = Try();
  ASSERT_TRUE(policy.ok()) << policy.status();
  const double per_token[] = {1e-10, 2e-10, 1e-9, 4e-9};
  for (size_t work = 0; work < kRowWorks; ++work) {
    const HostRowPolicy::Costs& costs = policy->costs[work];
    EXPECT_NEAR(costs.cpu.fixed, 1e-6, 1e-9);
    EXPECT_NEAR(costs.cpu.per_unit, per_token[work], 1e-15);
    EXPECT_NEAR(costs.device.fixed, 2e-5, 1e-9);
    EXPECT_NEAR(costs.device.per_unit, 1e-10, 1e-15);
  }
}

TEST_F(HostRowTrialTest, GivesTheCpuWhatItDoesSooner) {
  const HostRowPolicy policy = Try().value();
  const auto for_cpu = [&](RowWork work, size_t tokens) {
    return policy.ForCpu(work, {.tokens = tokens, .bytes = tokens * sizeof(float)});
  };
  // 19 us of overhead are worth 31,666 tokens at a difference of 0.6 ns each.
  EXPECT_TRUE(for_cpu(RowWork::kTopK, size_t{1} << 30));
  EXPECT_TRUE(for_cpu(RowWork::kTopP, 31000));
  EXPECT_FALSE(for_cpu(RowWork::kTopP, 32000));
  EXPECT_TRUE(for_cpu(RowWork::kUnfiltered, 5000));
  EXPECT_FALSE(for_cpu(RowWork::kUnfiltered, 6000));
}

TEST_F(HostRowTrialTest, AnErrorIsThatOfTheSampler) {
  device_.status = absl::InternalError("no device");
  EXPECT_EQ(Try().status(), device_.status);
  device_.status = absl::OkStatus();
  cpu_.status = absl::InternalError("no memory");
  EXPECT_EQ(Try().status(), cpu_.status);
}

}  // namespace
}  // namespace token_sampler
