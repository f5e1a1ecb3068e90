// Tests relaxed one-hot vectors: they belong to the drawn token, have the distribution of the
// Gumbel softmax (Jang et al., 2017; Maddison et al., 2017), and can be repeated.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using testing::LogitRow;
using testing::SampleRow;
using testing::WeightRow;

RowResult Relaxed(RowInput row, double temperature) {
  const OutputOptions outputs = {.gumbel_softmax = temperature};
  row.outputs = &outputs;
  return SampleRow(row);
}

TEST(GumbelSoftmaxTest, TheLargestEntryIsTheDrawnToken) {
  const std::vector<float> logits = {.5f, -1, 2, 1, -INFINITY, 0, 2, 3};
  const SamplingParams params = {.num_samples = 5, .top_k = 6};
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const RowResult result = Relaxed(LogitRow(logits, params, {.seed = seed}), .7);
    ASSERT_EQ(result.gumbel_softmax.size(), 5 * logits.size());
    std::vector<bool> drawn(logits.size());
    for (size_t j = 0; j < 5; ++j) {
      const auto begin = result.gumbel_softmax.begin() + static_cast<int64_t>(j * logits.size());
      const auto end = begin + static_cast<int64_t>(logits.size());
      ASSERT_EQ(std::max_element(begin, end) - begin, result.token_ids[j]) << seed;
      float sum = 0;
      for (auto entry = begin; entry != end; ++entry) sum += *entry;
      ASSERT_NEAR(sum, 1, 1e-5);
      // Entries of tokens that are masked, filtered or drawn before are 0.
      ASSERT_EQ(begin[4], 0);
      ASSERT_EQ(begin[1], 0);
      for (size_t id = 0; id < logits.size(); ++id) {
        ASSERT_TRUE(!drawn[id] || begin[static_cast<int64_t>(id)] == 0);
      }
      drawn[result.token_ids[j]] = true;
    }
  }
}

TEST(GumbelSoftmaxTest, HasTheGumbelSoftmaxDistribution) {
  // For two tokens, logit(y_0) * temperature = ln(w_0 / w_1) + logistic noise, whose quantiles at
  // eighths are known. A chi-square over them with 7 degrees of freedom exceeds 36.0 once in 1.4e5.
  const std::vector<float> weights = {1, 3};
  constexpr double kTemperature = .5;
  constexpr int kDraws = 8000;
  std::vector<int> bins(8);
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    const SamplingParams params;
    const RowResult result = Relaxed(WeightRow(weights, params, {.seed = seed}), kTemperature);
    const double odds = double{result.gumbel_softmax[0]} / double{result.gumbel_softmax[1]};
    const double noise = kTemperature * std::log(odds) - std::log(1.0 / 3.0);
    const double quantile = 1 / (1 + std::exp(-noise));
    ++bins[std::min<size_t>(7, static_cast<size_t>(8 * quantile))];
  }
  double chi_square = 0;
  for (const int count : bins) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi_square, 36.0);
}

TEST(GumbelSoftmaxTest, GreedyIsOneHotAndHeatIsUniform) {
  const std::vector<float> logits = {1, 4, 2};
  const SamplingParams greedy = {.temperature = 0};
  EXPECT_EQ(Relaxed(LogitRow(logits, greedy), 1).gumbel_softmax, (std::vector<float>{0, 1, 0}));
  const SamplingParams params;
  for (const float entry : Relaxed(LogitRow(logits, params), 1e6).gumbel_softmax) {
    EXPECT_NEAR(entry, 1.0 / 3, 1e-4);
  }
}

TEST(GumbelSoftmaxTest, ChangesNoTokenAndRepeats) {
  const std::vector<float> logits = {1, 4, 2, 3.5f};
  const SamplingParams params = {.num_samples = 3, .replacement = true};
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const RowInput row = LogitRow(logits, params, {.seed = seed, .step = 9, .stream = 2});
    const RowResult once = Relaxed(row, .3);
    EXPECT_EQ(once.token_ids, SampleRow(row).token_ids);
    EXPECT_EQ(once.gumbel_softmax, Relaxed(row, .3).gumbel_softmax);
  }
}

}  // namespace
}  // namespace token_sampler
