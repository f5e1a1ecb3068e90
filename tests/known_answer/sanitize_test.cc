// Tests how SANITIZE repairs invalid values, and that the row reports it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using testing::LogitRow;
using testing::SampleRow;
using ::testing::SizeIs;
using testing::WeightRow;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const SamplingParams kSanitize = {.invalid_values = InvalidValuePolicy::kSanitize};
const SamplingParams kUniform = {.invalid_values = InvalidValuePolicy::kSanitizeUniform};

RowResult Kept(RowInput row) {
  const OutputOptions outputs = {.kept_set = true};
  row.outputs = &outputs;
  return SampleRow(row);
}

TEST(SanitizeTest, NanIsNeverDrawnAndInfinityIsTheLargest) {
  RowResult result = Kept(LogitRow({1, kNan, 2}, kSanitize));
  EXPECT_EQ(result.code, RowCode::kSanitized);
  EXPECT_EQ(result.message, "values were repaired, first that of token 1, nan");
  EXPECT_THAT(result.kept_token_ids, ElementsAre(0, 2));
  EXPECT_THAT(result.token_ids, SizeIs(1));

  result = Kept(LogitRow({1, kInfinity, 2}, kSanitize));
  EXPECT_EQ(result.code, RowCode::kSanitized);
  EXPECT_THAT(result.token_ids, ElementsAre(1));

  result = Kept(WeightRow({1, -1, kNan, 2}, kSanitize));
  EXPECT_EQ(result.code, RowCode::kSanitized);
  EXPECT_THAT(result.kept_token_ids, ElementsAre(0, 3));
}

// Uses the rows of transformers' InfNanRemoveLogitsProcessor. There NaN becomes 0, which in its
// first row is as likely as token 0. Here a token with an unknown value is never drawn.
TEST(SanitizeTest, DiffersFromTransformersAtNanAlone) {
  const RowResult nan = Kept(LogitRow({0, .7f, .8f, kNan}, kSanitize));
  EXPECT_THAT(nan.kept_token_ids, ElementsAre(0, 1, 2));
  const RowResult infinite = Kept(LogitRow({.1f, kInfinity, .3f, -kInfinity}, kSanitize));
  EXPECT_THAT(infinite.kept_token_ids, ElementsAre(0, 1, 2));
  constexpr float kLargest = std::numeric_limits<float>::max();
  const RowResult repaired = Kept(LogitRow({.1f, kLargest, .3f, -kInfinity}, kSanitize));
  EXPECT_EQ(infinite.kept_logprobs, repaired.kept_logprobs);
}

TEST(SanitizeTest, ASoundRowIsAsWithoutIt) {
  const SamplingParams strict;
  const RowResult expected = SampleRow(LogitRow({1, 2, -kInfinity}, strict));
  const RowResult actual = SampleRow(LogitRow({1, 2, -kInfinity}, kSanitize));
  EXPECT_EQ(actual.code, RowCode::kOk);
  EXPECT_EQ(actual.token_ids, expected.token_ids);
}

TEST(SanitizeTest, WithoutATokenTheRowStillFails) {
  EXPECT_EQ(SampleRow(LogitRow({kNan, -kInfinity}, kSanitize)).code, RowCode::kAllMasked);
  EXPECT_EQ(SampleRow(WeightRow({0, -3}, kSanitize)).code, RowCode::kZeroSum);
}

TEST(SanitizeUniformTest, DrawsUniformlyWhereNoTokenIsLeft) {
  const std::vector<float> logits = {kNan, -kInfinity};
  const std::vector<float> weights = {0, -2};
  for (const RowInput& row : {LogitRow(logits, kUniform), WeightRow(weights, kUniform)}) {
    const RowResult result = Kept(row);
    EXPECT_EQ(result.code, RowCode::kUniform);
    EXPECT_EQ(result.message, "no token was left, so one was drawn uniformly");
    EXPECT_THAT(result.kept_token_ids, ElementsAre(0, 1));
    EXPECT_EQ(result.kept_logprobs[0], result.kept_logprobs[1]);
  }
}

TEST(SanitizeUniformTest, DrawsAmongWhatTheMaskAllows) {
  SamplingParams params = kUniform;
  params.allowed_ids = {1, 3};
  params.logit_bias = {{1, 5.0f}};
  const std::vector<float> logits = {2, -kInfinity, 1, -kInfinity};
  RowResult result = Kept(LogitRow(logits, params));
  EXPECT_EQ(result.code, RowCode::kUniform);
  EXPECT_THAT(result.kept_token_ids, ElementsAre(1, 3));
  EXPECT_EQ(result.kept_logprobs[0], result.kept_logprobs[1]);
  params.banned_ids = {1, 3};
  EXPECT_EQ(SampleRow(LogitRow(logits, params)).code, RowCode::kAllMasked);
}

TEST(SanitizeTest, RepairsWhatAdjustmentsBreak) {
  // A penalty below 1 overflows.
  SamplingParams params = kSanitize;
  params.repetition_penalty = 1e-6;
  const std::vector<uint32_t> output = {0};
  const RowHistory history = {.output_ids = output};
  const std::vector<float> logits = {3e38f, 1};
  RowInput row = LogitRow(logits, params);
  row.history = &history;
  const RowResult result = SampleRow(row);
  EXPECT_EQ(result.code, RowCode::kSanitized);
  EXPECT_THAT(result.token_ids, ElementsAre(0));
}

}  // namespace
}  // namespace token_sampler
