// Tests the views of a row between its stages against probabilities computed by hand.

#include "sampler/describe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::LogitRow;
using testing::WeightRow;

std::vector<std::string> Stages(const std::vector<StageView>& views) {
  std::vector<std::string> stages;
  for (const StageView& view : views) stages.push_back(view.stage);
  return stages;
}

TEST(DescribeTest, ShowsWhatEachStageKeepsAndTakes) {
  const std::vector<float> weights = {1, 2, 3, 4};
  const SamplingParams params = {.top_k = 3, .top_p = .7, .banned_ids = {0}};
  RowResult result;
  const auto views = DescribeRow(WeightRow(weights, params), 2, result);
  EXPECT_EQ(result.code, RowCode::kOk);
  ASSERT_THAT(Stages(views), ElementsAre("input", "adjusted", "top_k", "top_p"));
  EXPECT_EQ(views[0].kept_count, 4u);
  EXPECT_NEAR(views[0].entropy, 1.2798542258, 1e-9);
  EXPECT_DOUBLE_EQ(views[0].max_probability, .4);
  EXPECT_DOUBLE_EQ(views[0].min_probability, .1);
  EXPECT_EQ(views[0].removed_mass, 0);
  EXPECT_EQ(views[1].kept_count, 3u);
  EXPECT_DOUBLE_EQ(views[1].removed_mass, .1);
  EXPECT_EQ(views[2].removed_mass, 0);
  EXPECT_EQ(views[3].kept_count, 2u);  // 4/9 and 3/9 reach .7
  EXPECT_DOUBLE_EQ(views[3].removed_mass, 2.0 / 9);
  EXPECT_THAT(views[3].top_token_ids, ElementsAre(3, 2));
  EXPECT_THAT(views[3].top_probabilities,
              ElementsAre(DoubleNear(4.0 / 7, 1e-12), DoubleNear(3.0 / 7, 1e-12)));
}

TEST(DescribeTest, EndsWhereTheRowIsGreedy) {
  const std::vector<float> logits = {1, 3, 2};
  const SamplingParams params = {.temperature = 0, .top_p = .5};
  RowResult result;
  const auto views = DescribeRow(LogitRow(logits, params), 10, result);
  ASSERT_THAT(Stages(views), ElementsAre("input", "adjusted", "temperature"));
  EXPECT_THAT(views[2].top_token_ids, ElementsAre(1));
  EXPECT_EQ(views[2].entropy, 0);
  EXPECT_NEAR(views[2].removed_mass, 1 - 1 / (1 + std::exp(-1.0) + std::exp(-2.0)), 1e-6);
}

TEST(DescribeTest, AFailedRowHasNoViews) {
  const std::vector<float> logits = {1, std::numeric_limits<float>::quiet_NaN()};
  RowResult result;
  const SamplingParams params;
  EXPECT_THAT(DescribeRow(LogitRow(logits, params), 10, result), IsEmpty());
  EXPECT_EQ(result.code, RowCode::kNan);
}

TEST(DescribeTest, DrawsNothing) {
  const std::vector<float> logits = {1, 2};
  RowResult result;
  const SamplingParams params;
  DescribeRow(LogitRow(logits, params), 10, result);
  EXPECT_THAT(result.token_ids, IsEmpty());
}

}  // namespace
}  // namespace token_sampler
