// Tests the outputs besides tokens: log-probabilities, ranks, kept sets, extremes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::IsEmpty;
using testing::LogitRow;
using testing::SampleRow;
using testing::WeightRow;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kUnit = 1e-6f;  // a few float32 units at the logarithms used here

RowResult SampleWith(RowInput row, const OutputOptions& outputs) {
  row.outputs = &outputs;
  return SampleRow(row);
}

const std::vector<float> kWeights = {1, 2, 5};

TEST(LogprobTest, RawIsTheRowAsReceived) {
  const SamplingParams params = {.num_samples = 3, .top_k = 3};
  const RowResult result =
      SampleWith(WeightRow(kWeights, params), {.logprobs = true, .top_logprobs = 2});
  ASSERT_EQ(result.token_ids.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(result.logprobs[i], std::log(kWeights[result.token_ids[i]] / 8), kUnit);
  }
  EXPECT_THAT(result.top_token_ids, ElementsAre(2, 1));
  EXPECT_THAT(result.top_logprobs,
              ElementsAre(FloatNear(std::log(.625f), kUnit), FloatNear(std::log(.25f), kUnit)));
}

TEST(LogprobTest, RawIgnoresTemperatureAndFilters) {
  const SamplingParams params = {.temperature = .1, .top_k = 1};
  const RowResult result = SampleWith(LogitRow({0, 0}, params), {.logprobs = true});
  EXPECT_THAT(result.logprobs, ElementsAre(FloatNear(std::log(.5f), kUnit)));
}

TEST(LogprobTest, ProcessedIsOverTheKeptTokensAtTheirTemperature) {
  const SamplingParams params = {.temperature = .5, .top_k = 2};
  const RowResult result = SampleWith(LogitRow({1, 0, -1}, params),
                                      {.top_logprobs = 3, .logprob_mode = LogprobMode::kProcessed});
  EXPECT_THAT(result.top_token_ids, ElementsAre(0, 1));
  const float log_total = std::log(1 + std::exp(-2.0f));
  EXPECT_THAT(result.top_logprobs,
              ElementsAre(FloatNear(-log_total, kUnit), FloatNear(-2 - log_total, kUnit)));
}

TEST(LogprobTest, ProcessedGreedyIsCertain) {
  const SamplingParams params = {.temperature = 0, .num_samples = 2};
  const RowResult result =
      SampleWith(LogitRow({1, 3, 2}, params),
                 {.logprobs = true, .logprob_mode = LogprobMode::kProcessed, .kept_count = true});
  EXPECT_THAT(result.token_ids, ElementsAre(1, 2));
  EXPECT_THAT(result.logprobs, ElementsAre(0.0f, -kInfinity));
  EXPECT_EQ(result.kept_count, 1u);
}

TEST(LogprobTest, FarTailsKeepTheirLogprob) {
  // Its weight is 0, because -300 is beyond every fixed-point weight, but its log-probability is
  // not -infinity.
  const RowResult result = SampleWith(LogitRow({0, -300}, {}), {.top_logprobs = 2});
  EXPECT_THAT(result.top_logprobs, ElementsAre(0.0f, -300.0f));
}

TEST(LogprobTest, MaskedTokensAreNotListed) {
  const RowResult result =
      SampleWith(LogitRow({-kInfinity, 1, -kInfinity}, {}), {.top_logprobs = 3});
  EXPECT_THAT(result.top_token_ids, ElementsAre(1));
}

// Uses the row of test_batch_top_tokens in text-generation-inference, which lists every token equal
// to the last one: four for n = 3. Here there are exactly n, with the lowest ids among equal
// tokens.
TEST(TopLogprobsTest, AreExactlyAsManyAsAskedFor) {
  const std::vector<float> logprobs = {-1, -3, -4, -2, -3};
  const SamplingParams params;
  const auto top = [&](uint32_t n) {
    return SampleWith(LogitRow(logprobs, params), {.top_logprobs = n}).top_token_ids;
  };
  EXPECT_THAT(top(0), IsEmpty());
  EXPECT_THAT(top(2), ElementsAre(0, 3));
  EXPECT_THAT(top(3), ElementsAre(0, 3, 1));
  EXPECT_THAT(top(4), ElementsAre(0, 3, 1, 4));
  EXPECT_THAT(top(5), ElementsAre(0, 3, 1, 4, 2));
}

TEST(RankTest, BothDefinitionsOnATie) {
  // vLLM counts equal values: the second 3 has rank 2. The other definition gives 1.
  const SamplingParams params = {.temperature = 0, .num_samples = 3};
  const std::vector<float> logits = {3, 3, 1};
  const RowInput row = LogitRow(logits, params);
  EXPECT_THAT(SampleWith(row, {.ranks = true}).ranks, ElementsAre(1, 1, 3));
  EXPECT_THAT(SampleWith(row, {.ranks = true, .rank_mode = RankMode::kGreaterEqual}).ranks,
              ElementsAre(2, 2, 3));
}

TEST(RankTest, ProcessedRanksAmongTheKept) {
  // XTC keeps the least likely of the three tokens at or above .19.
  const RowResult result = SampleWith(
      WeightRow({5, 3, 2}, {.num_samples = 1, .xtc_probability = 1, .xtc_threshold = .19}),
      {.logprob_mode = LogprobMode::kProcessed, .ranks = true, .kept_set = true});
  EXPECT_THAT(result.ranks, ElementsAre(1));
  EXPECT_THAT(result.kept_token_ids, ElementsAre(2));
}

TEST(KeptSetTest, AscendingIdsWithTheirLogprobs) {
  const RowResult result =
      SampleWith(WeightRow({2, 1, 5, 1}, {.top_k = 3}), {.kept_count = true, .kept_set = true});
  EXPECT_EQ(result.kept_count, 3u);
  EXPECT_THAT(result.kept_token_ids, ElementsAre(0, 1, 2));
  EXPECT_THAT(result.kept_logprobs,
              ElementsAre(FloatNear(std::log(.25f), kUnit), FloatNear(std::log(.125f), kUnit),
                          FloatNear(std::log(.625f), kUnit)));
}

TEST(ExtremesTest, OfTheTokensThatCanBeDrawn) {
  const RowResult raw = SampleWith(WeightRow({0, 1, 2, 5}, {.top_k = 2}), {.extremes = true});
  EXPECT_DOUBLE_EQ(raw.max_probability, .625);
  EXPECT_DOUBLE_EQ(raw.min_probability, .125);
  const RowResult processed =
      SampleWith(WeightRow({0, 1, 3, 5}, {.top_k = 2}),
                 {.logprob_mode = LogprobMode::kProcessed, .extremes = true});
  EXPECT_DOUBLE_EQ(processed.max_probability, .625);
  EXPECT_DOUBLE_EQ(processed.min_probability, .375);
}

// The largest weight is in (2^43, 2^44]: SPEC.md §4.
TEST(WeightsTest, OfTheTokensThatCanBeDrawn) {
  const RowResult plain = SampleWith(WeightRow({0, 1, 2, 4}, {.top_k = 2}), {.weights = true});
  EXPECT_THAT(plain.weighed_ids, ElementsAre(2, 3));
  EXPECT_THAT(plain.weights, ElementsAre(uint64_t{1} << 42, uint64_t{1} << 43));
  EXPECT_FALSE(plain.greedy);
  const RowResult logits = SampleWith(LogitRow({-.5f, 0, -300}, {}), {.weights = true});
  EXPECT_THAT(logits.weighed_ids, ElementsAre(0, 1));
  EXPECT_THAT(logits.weights, ElementsAre(10670200193024, uint64_t{1} << 44));
}

TEST(WeightsTest, AGreedyRowHasOne) {
  const RowResult result =
      SampleWith(LogitRow({1, 3, 2}, {.temperature = 0, .num_samples = 2}), {.weights = true});
  EXPECT_THAT(result.weighed_ids, ElementsAre(1));
  EXPECT_THAT(result.weights, ElementsAre(1));
  EXPECT_TRUE(result.greedy);
}

TEST(OutputsTest, NothingThatWasNotAskedFor) {
  const RowResult result = SampleWith(WeightRow(kWeights, {}), {});
  EXPECT_THAT(result.logprobs, IsEmpty());
  EXPECT_THAT(result.top_token_ids, IsEmpty());
  EXPECT_THAT(result.ranks, IsEmpty());
  EXPECT_THAT(result.kept_token_ids, IsEmpty());
  EXPECT_EQ(result.kept_count, 0u);
}

TEST(EntropyTest, IsThatOfTheDistribution) {
  const OutputOptions raw = {.entropy = true};
  const OutputOptions processed = {.logprob_mode = LogprobMode::kProcessed, .entropy = true};
  const std::vector<float> logits = {std::log(.1f), std::log(.2f), std::log(.3f), std::log(.4f)};
  const SamplingParams params = {.top_k = 2};
  EXPECT_NEAR(SampleWith(LogitRow(logits, params), raw).entropy, 1.2798542258, 1e-7);
  // .3 and .4 of .7
  EXPECT_NEAR(SampleWith(LogitRow(logits, params), processed).entropy, .6829081047, 1e-7);
  EXPECT_NEAR(SampleWith(WeightRow({1, 1, 2}, {}), raw).entropy, 1.5 * std::log(2.0), 1e-12);
  EXPECT_EQ(SampleWith(WeightRow({0, 7, 0}, {}), raw).entropy, 0.0);
  const std::vector<float> flat(1 << 16, -3.5f);
  EXPECT_NEAR(SampleWith(LogitRow(flat, {}), raw).entropy, 16 * std::log(2.0), 1e-12);
}

TEST(LogprobTest, ProcessedSumsToOneWhenTheTopIsExcluded) {
  const SamplingParams params = {.xtc_probability = 1, .xtc_threshold = .15};
  const std::vector<float> logits = {std::log(.1f), std::log(.2f), std::log(.3f), std::log(.4f)};
  const RowResult result = SampleWith(LogitRow(logits, params),
                                      {.top_logprobs = 4, .logprob_mode = LogprobMode::kProcessed});
  EXPECT_THAT(result.top_token_ids, ElementsAre(1, 0));
  EXPECT_THAT(result.top_logprobs, ElementsAre(FloatNear(std::log(2 / 3.f), kUnit),
                                               FloatNear(std::log(1 / 3.f), kUnit)));
}

}  // namespace
}  // namespace token_sampler
