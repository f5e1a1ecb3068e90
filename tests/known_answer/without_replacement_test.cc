// Tests draws without replacement: as many as there are tokens above zero, however small, and
// float64 weights beyond the range of float32.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/describe.h"
#include "tests/testing/sample_row.h"
#include "tests/testing/statistics.h"

namespace token_sampler {
namespace {

using ::testing::AnyOf;
using testing::ChiSquare;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::LogitRow;
using testing::SampleRow;
using ::testing::UnorderedElementsAre;
using testing::WeightRow;

constexpr double kCritical1 = 23.93;  // 1 degree of freedom, exceeded once in 10^6

class WithoutReplacementTest : public ::testing::TestWithParam<std::string> {
 protected:
  Sampler* sampler() { return cpu_.get(); }

 private:
  const std::unique_ptr<Sampler> cpu_ =
      GetParam() == "reference" ? nullptr : CreateCpuSampler({1, GetParam()}).value();
};

std::vector<std::string> Samplers() {
  std::vector<std::string> names = CpuSamplerTargets();
  names.emplace_back("reference");
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, WithoutReplacementTest, ::testing::ValuesIn(Samplers()),
                         [](const auto& tested) { return tested.param; });

TEST_P(WithoutReplacementTest, AllCategoriesGiveAPermutation) {
  std::vector<float> weights;
  for (int i = 1; i <= 50; ++i) weights.push_back(static_cast<float>(i));
  RowResult result = SampleRow(WeightRow(weights, {.num_samples = 50}, {.seed = 3}), sampler());
  ASSERT_EQ(result.token_ids.size(), 50u);
  EXPECT_FALSE(std::is_sorted(result.token_ids.begin(), result.token_ids.end()));
  std::sort(result.token_ids.begin(), result.token_ids.end());
  for (uint32_t id = 0; id < 50; ++id) EXPECT_EQ(result.token_ids[id], id);
}

TEST_P(WithoutReplacementTest, MoreDrawsBeginWithTheFewerDraws) {
  const std::vector<float> weights = {5, 1, 2, 8, 3, 9, 4};
  const RowKey key = {.seed = 11, .step = 2};
  const auto few = SampleRow(WeightRow(weights, {.num_samples = 3}, key), sampler()).token_ids;
  auto many = SampleRow(WeightRow(weights, {.num_samples = 7}, key), sampler()).token_ids;
  many.resize(3);
  EXPECT_EQ(few, many);
}

TEST_P(WithoutReplacementTest, ATinyWeightIsDrawnLast) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_THAT(
        SampleRow(WeightRow({1, 1e-14f}, {.num_samples = 2}, {.seed = seed}), sampler()).token_ids,
        ElementsAre(0, 1));
    EXPECT_THAT(
        SampleRow(LogitRow({0, -40, -141, -142}, {.num_samples = 4}, {.seed = seed}), sampler())
            .token_ids,
        AnyOf(ElementsAre(0, 1, 2, 3), ElementsAre(0, 1, 3, 2)));
  }
}

// The second draw of three tokens is from weights of 1 and 3, far below the first token's.
TEST_P(WithoutReplacementTest, WhatIsLeftIsDrawnInProportion) {
  std::vector<uint64_t> weights(2);
  std::vector<uint64_t> logits(2);
  for (uint64_t seed = 0; seed < 4'000; ++seed) {
    const RowKey key = {.seed = seed};
    ++weights.at(SampleRow(WeightRow({1, 1e-20f, 3e-20f}, {.num_samples = 2}, key), sampler())
                     .token_ids.at(1) -
                 1);
    // At temperature 2 the difference of 2 ln 3 is a factor of 3.
    ++logits.at(
        SampleRow(LogitRow({0, -200, -197.80278f}, {.temperature = 2, .num_samples = 2}, key),
                  sampler())
            .token_ids.at(1) -
        1);
  }
  EXPECT_LT(ChiSquare(weights, {.25, .75}), kCritical1);
  EXPECT_GT(ChiSquare(weights, {.3, .7}), kCritical1);
  EXPECT_LT(ChiSquare(logits, {.25, .75}), kCritical1);
  EXPECT_GT(ChiSquare(logits, {.3, .7}), kCritical1);
}

TEST_P(WithoutReplacementTest, OnlyWhatIsZeroIsNeverDrawn) {
  const float masked = -std::numeric_limits<float>::infinity();
  const RowResult result = SampleRow(LogitRow({masked, 0, -1e30f}, {.num_samples = 3}), sampler());
  EXPECT_EQ(result.code, RowCode::kTooFewTokens);
  EXPECT_THAT(result.message, HasSubstr("only 2 tokens are left"));
  EXPECT_THAT(SampleRow(WeightRow({0, 1e-45f, 0}, {.num_samples = 2}), sampler()).message,
              HasSubstr("only 1 token is left"));
}

TEST_P(WithoutReplacementTest, FiltersStillLimitTheDraws) {
  const std::vector<float> logits = {0, -40, -41, -42};
  EXPECT_EQ(SampleRow(LogitRow(logits, {.num_samples = 3, .top_k = 2}), sampler()).code,
            RowCode::kTooFewTokens);
  EXPECT_EQ(SampleRow(LogitRow(logits, {.num_samples = 3, .top_k = 3}), sampler()).token_ids.size(),
            3u);
}

// All tokens below a step of 100 have the weight 0.
TEST_P(WithoutReplacementTest, ALongStairIsDrawnFromTheTop) {
  constexpr uint32_t kTokens = 3'000;
  std::vector<float> logits;
  for (uint32_t id = 0; id < kTokens; ++id) logits.push_back(-100.0f * static_cast<float>(id));
  const RowResult result = SampleRow(LogitRow(logits, {.num_samples = kTokens}), sampler());
  ASSERT_EQ(result.token_ids.size(), kTokens);
  EXPECT_TRUE(std::is_sorted(result.token_ids.begin(), result.token_ids.end()));
}

// ---- Weights in double precision ----

RowInput DoubleRow(const std::vector<double>& values, const SamplingParams& params,
                   RowKey key = {}) {
  RowInput row;
  row.values = values.data();
  row.dtype = DataType::kFloat64;
  row.kind = InputKind::kWeights;
  row.vocab = static_cast<int64_t>(values.size());
  row.params = &params;
  row.key = key;
  return row;
}

TEST_P(WithoutReplacementTest, DoublesBeyondFloatAreDrawnInProportion) {
  for (const double scale : {1e-310, 1e-200, 1e-46, 1e39, 1e300}) {
    SCOPED_TRACE(scale);
    std::vector<uint64_t> counts(2);
    for (uint64_t seed = 0; seed < 4'000; ++seed) {
      const RowResult result =
          SampleRow(DoubleRow({scale, 3 * scale}, {}, {.seed = seed}), sampler());
      ++counts.at(result.token_ids.at(0));
    }
    EXPECT_LT(ChiSquare(counts, {.25, .75}), kCritical1);
    EXPECT_GT(ChiSquare(counts, {.3, .7}), kCritical1);
  }
}

// A row that must be scaled by a power of two draws the same tokens as one that need not be scaled.
TEST_P(WithoutReplacementTest, ScalingByAPowerOfTwoChangesNoToken) {
  const std::vector<double> weights = {0.3, 0, 7, 1.25, 2, 0.1};
  std::vector<double> scaled;
  for (const double weight : weights) scaled.push_back(std::ldexp(weight, 900));
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const SamplingParams params = {.num_samples = 4, .top_p = 0.97};
    EXPECT_EQ(SampleRow(DoubleRow(weights, params, {.seed = seed}), sampler()).token_ids,
              SampleRow(DoubleRow(scaled, params, {.seed = seed}), sampler()).token_ids);
  }
}

TEST_P(WithoutReplacementTest, DoublesTooSmallBesideTheLargestAreDrawnLast) {
  EXPECT_THAT(SampleRow(DoubleRow({1e-300, 1, 0, 1e-310}, {.num_samples = 3}), sampler()).token_ids,
              AnyOf(ElementsAre(1, 0, 3), ElementsAre(1, 3, 0)));
  EXPECT_EQ(SampleRow(DoubleRow({1e-300, 1, 0}, {.num_samples = 3}), sampler()).code,
            RowCode::kTooFewTokens);
}

TEST_P(WithoutReplacementTest, InvalidDoublesAreNamedAsTheyWereSent) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(SampleRow(DoubleRow({1e300, infinity}, {}), sampler()).message,
            "weight of token 1 must be finite and >= 0, got inf");
  EXPECT_EQ(SampleRow(DoubleRow({1e300, -2}, {}), sampler()).message,
            "weight of token 1 must be finite and >= 0, got -2");
  EXPECT_EQ(SampleRow(DoubleRow({0, 0}, {}), sampler()).code, RowCode::kZeroSum);
}

TEST(DescribeTest, ShowsDoublesBeyondFloat) {
  const std::vector<double> weights = {1e-310, 3e-310};
  const SamplingParams params;
  RowResult result;
  const std::vector<StageView> views = DescribeRow(DoubleRow(weights, params), 2, result);
  EXPECT_EQ(result.code, RowCode::kOk) << result.message;
  ASSERT_FALSE(views.empty());
  EXPECT_THAT(views[0].top_token_ids, ElementsAre(1, 0));
  EXPECT_NEAR(views[0].max_probability, 0.75, 1e-7);  // float32 rounds the ratio
}

}  // namespace
}  // namespace token_sampler
