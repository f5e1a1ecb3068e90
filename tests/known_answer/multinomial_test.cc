// Tests weights with the meaning and the errors of torch.multinomial.

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using testing::LogitRow;
using testing::SampleRow;
using testing::WeightRow;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(MultinomialTest, DocumentationExample) {
  const std::vector<float> weights = {0, 10, 3, 0};
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const RowResult two = SampleRow(WeightRow(weights, {.num_samples = 2}, {.seed = seed}));
    EXPECT_EQ(std::set<uint32_t>(two.token_ids.begin(), two.token_ids.end()),
              (std::set<uint32_t>{1, 2}));
    const RowResult four =
        SampleRow(WeightRow(weights, {.num_samples = 4, .replacement = true}, {.seed = seed}));
    EXPECT_EQ(four.token_ids.size(), 4u);
    for (const uint32_t id : four.token_ids) EXPECT_TRUE(id == 1 || id == 2) << id;
  }
}

// torch documents this as an error and returns tokens of weight zero (pytorch#48841).
TEST(MultinomialTest, NeverReturnsAZeroWeightToFillUpTheDraws) {
  const RowResult result = SampleRow(WeightRow({0, 10, 3, 0}, {.num_samples = 4}));
  EXPECT_EQ(result.code, RowCode::kTooFewTokens);
  EXPECT_EQ(result.message,
            "num_samples is 4 without replacement, but only 2 tokens are left to draw from");
  EXPECT_TRUE(result.token_ids.empty());
}

struct ErrorCase {
  const char* name;
  std::vector<float> values;
  InputKind kind;
  RowCode code;
  const char* message;
};

void PrintTo(const ErrorCase& c, std::ostream* os) { *os << c.name; }

class RowErrorTest : public ::testing::TestWithParam<ErrorCase> {};

TEST_P(RowErrorTest, NamesTokenValueAndRule) {
  const SamplingParams params;
  RowInput row = LogitRow(GetParam().values, params);
  row.kind = GetParam().kind;
  const RowResult result = SampleRow(row);
  EXPECT_EQ(result.code, GetParam().code);
  EXPECT_EQ(result.message, GetParam().message);
  EXPECT_TRUE(result.token_ids.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, RowErrorTest,
    ::testing::Values(ErrorCase{"negative",
                                {1, -1, 1},
                                InputKind::kWeights,
                                RowCode::kNegative,
                                "weight of token 1 must be finite and >= 0, got -1"},
                      ErrorCase{"infinite",
                                {1, kInfinity, 1},
                                InputKind::kWeights,
                                RowCode::kInfinite,
                                "weight of token 1 must be finite and >= 0, got inf"},
                      ErrorCase{"minus_infinite",
                                {1, -kInfinity, 1},
                                InputKind::kWeights,
                                RowCode::kInfinite,
                                "weight of token 1 must be finite and >= 0, got -inf"},
                      ErrorCase{"nan",
                                {1, 1, kNan},
                                InputKind::kWeights,
                                RowCode::kNan,
                                "weight of token 2 must be finite and >= 0, got nan"},
                      ErrorCase{"first_of_several",
                                {1, -2, kNan},
                                InputKind::kWeights,
                                RowCode::kNegative,
                                "weight of token 1 must be finite and >= 0, got -2"},
                      ErrorCase{"zero_sum",
                                {0, 0, -0.0f},
                                InputKind::kWeights,
                                RowCode::kZeroSum,
                                "every weight is 0: the sum must be above 0"},
                      ErrorCase{"logit_nan",
                                {1, kNan},
                                InputKind::kLogits,
                                RowCode::kNan,
                                "logit of token 1 must be finite or -infinity, got nan"},
                      ErrorCase{"logit_infinite",
                                {kInfinity, 1},
                                InputKind::kLogits,
                                RowCode::kInfinite,
                                "logit of token 0 must be finite or -infinity, got inf"},
                      ErrorCase{"all_masked",
                                {-kInfinity, -kInfinity},
                                InputKind::kLogits,
                                RowCode::kAllMasked,
                                "every logit is -infinity: no token can be drawn"}),
    [](const auto& tested) { return tested.param.name; });

// A regression case of a Gumbel sampler whose uniform was rounded to 1: p(0) is 3.7e-44.
TEST(TailTest, ExtremeHashesNeverDrawAnImpossibleToken) {
  for (const uint64_t step : {uint64_t{1707985137}, uint64_t{12345}}) {
    EXPECT_EQ(SampleRow(LogitRow({-100, 0}, {}, {.seed = 0, .step = step})).token_ids,
              std::vector<uint32_t>{1});
  }
}

}  // namespace
}  // namespace token_sampler
