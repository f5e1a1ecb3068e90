// Tests kept sets of the filters that most engines have: those that llama.cpp's test suite
// publishes (tests/test-sampling.cpp), and analytic cases.

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "sampler/params/stage_table.h"
#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using testing::KeptProbabilities;
using testing::LogitRow;
using testing::SampleRow;
using testing::WeightRow;

struct Case {
  std::string name;
  std::vector<float> probabilities;
  SamplingParams params;
  std::map<uint32_t, double> kept;  // renormalised
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

std::vector<float> Logs(const std::vector<float>& probabilities) {
  std::vector<float> logits;
  for (const float p : probabilities) logits.push_back(std::log(p));
  return logits;
}

void ExpectKept(const std::map<uint32_t, double>& actual,
                const std::map<uint32_t, double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [id, probability] : expected) {
    ASSERT_TRUE(actual.contains(id)) << "token " << id;
    EXPECT_NEAR(actual.at(id), probability, 1e-5) << "token " << id;  // the tolerance of
                                                                      // llama.cpp's suite
  }
}

class FilterTest : public ::testing::TestWithParam<Case> {};

// As plain weights the float32 inputs are exact. If a suite's threshold equals a sum, the rounding
// of its inputs decides: .3f + .4f is above .7 of the row, so this keeps what float32 sums keep.
TEST_P(FilterTest, KeepsThePublishedSetOfWeights) {
  const Case& c = GetParam();
  ExpectKept(KeptProbabilities(WeightRow(c.probabilities, c.params)), c.kept);
}

const std::vector<float> kRamp = {.1f, .2f, .3f, .4f};

SamplingParams TopK(uint32_t k) { return {.top_k = k}; }
SamplingParams TopP(double p) { return {.top_p = p}; }
SamplingParams MinP(double p) { return {.min_p = p}; }

const std::map<uint32_t, double> kAllOfRamp = {{0, .1}, {1, .2}, {2, .3}, {3, .4}};
const std::map<uint32_t, double> kThreeOfRamp = {{1, .22222}, {2, .33333}, {3, .44444}};
const std::map<uint32_t, double> kTwoOfRamp = {{2, .428571}, {3, .571429}};
const std::map<uint32_t, double> kOneOfRamp = {{3, 1}};

INSTANTIATE_TEST_SUITE_P(
    LlamaCpp, FilterTest,
    ::testing::Values(
        Case{"temperature_1", kRamp, {.temperature = 1}, kAllOfRamp},
        Case{"temperature_0", kRamp, {.temperature = 0}, kOneOfRamp},
        Case{"top_k_1", kRamp, TopK(1), kOneOfRamp}, Case{"top_k_3", kRamp, TopK(3), kThreeOfRamp},
        Case{"top_k_4", kRamp, TopK(4), kAllOfRamp}, Case{"top_k_off", kRamp, TopK(0), kAllOfRamp},
        Case{"top_p_0", kRamp, TopP(0), kOneOfRamp}, Case{"top_p_0_7", kRamp, TopP(.7), kTwoOfRamp},
        Case{"top_p_0_8", kRamp, TopP(.8), kThreeOfRamp},
        Case{"top_p_1", kRamp, TopP(1), kAllOfRamp}, Case{"min_p_off", kRamp, MinP(0), kAllOfRamp},
        Case{"min_p_0_24", kRamp, MinP(.24), kAllOfRamp},
        Case{"min_p_0_26", kRamp, MinP(.26), kThreeOfRamp},
        Case{"min_p_0_49", kRamp, MinP(.49), kThreeOfRamp},
        Case{"min_p_0_51", kRamp, MinP(.51), kTwoOfRamp},
        Case{"min_p_0_74", kRamp, MinP(.74), kTwoOfRamp},
        Case{"min_p_0_76", kRamp, MinP(.76), kOneOfRamp},
        Case{"min_p_1", kRamp, MinP(1), kOneOfRamp}),
    [](const auto& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Epsilon, FilterTest,
    ::testing::Values(Case{"equal_is_kept",
                           {.5f, .25f, .25f},
                           {.epsilon_cutoff = .25},
                           {{0, .5}, {1, .25}, {2, .25}}},
                      Case{"at_least_one", {.5f, .25f, .25f}, {.epsilon_cutoff = .9}, {{0, 1}}}),
    [](const auto& tested) { return tested.param.name; });

// Makes parameters with XTC that always acts (llama.cpp: probability .99 and a fixed seed).
SamplingParams Xtc(double threshold) {
  return {.xtc_probability = 1.0, .xtc_threshold = threshold};
}

INSTANTIATE_TEST_SUITE_P(
    Xtc, FilterTest,
    ::testing::Values(Case{"threshold_0_09", kRamp, Xtc(.09), {{0, 1}}},
                      Case{"threshold_0_19", kRamp, Xtc(.19), {{0, .33333}, {1, .66667}}},
                      Case{"threshold_0_29", kRamp, Xtc(.29), {{0, .16667}, {1, .33333}, {2, .5}}},
                      Case{"threshold_0_39", kRamp, Xtc(.39), kAllOfRamp},
                      Case{"keeps_enough",
                           kRamp,
                           {.xtc_probability = 1, .xtc_threshold = .09, .min_tokens_to_keep = 2},
                           kAllOfRamp}),
    [](const auto& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    PLess, FilterTest,
    ::testing::Values(
        // The sum of squares is .225.
        Case{"published",
             {.1f, .15f, .2f, .25f, .3f},
             {.p_less = true},
             {{3, .454545}, {4, .545455}}},
        Case{"uniform", {1, 1, 1, 1}, {.p_less = true}, {{0, .25}, {1, .25}, {2, .25}, {3, .25}}},
        Case{"certain", {0, 5}, {.p_less = true}, {{1, 1}}}),
    [](const auto& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Ties, FilterTest,
    ::testing::Values(Case{"exactly_k", {5, 4, 4, 1}, {.top_k = 2}, {{0, .55556}, {1, .44444}}},
                      Case{"keep_all",
                           {5, 4, 4, 1},
                           {.top_k = 2, .top_k_ties = TiePolicy::kKeepAll},
                           {{0, .384615}, {1, .307692}, {2, .307692}}},
                      Case{"keep_all_of_equals",
                           {2, 2, 2},
                           {.top_k = 1, .top_k_ties = TiePolicy::kKeepAll},
                           {{0, .33333}, {1, .33333}, {2, .33333}}}),
    [](const auto& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    MinTokensToKeep, FilterTest,
    ::testing::Values(
        Case{"top_k",
             {5, 4, 4, 1},
             {.top_k = 1, .min_tokens_to_keep = 2},
             {{0, .55556}, {1, .44444}}},
        Case{"top_p",
             {.5f, .25f, .25f},
             {.top_p = 0, .min_tokens_to_keep = 2},
             {{0, .66667}, {1, .33333}}},
        Case{"min_p", kRamp, {.min_p = 1, .min_tokens_to_keep = 3}, kThreeOfRamp},
        Case{"more_than_there_are", kRamp, {.top_k = 1, .min_tokens_to_keep = 9}, kAllOfRamp}),
    [](const auto& tested) { return tested.param.name; });

// The same parameters keep different sets in different engines' orders.
INSTANTIATE_TEST_SUITE_P(
    Orders, FilterTest,
    ::testing::Values(
        // top-p on the masses that top-k leaves: 4/7 reaches .5.
        Case{"vllm", kRamp, {.top_k = 2, .top_p = .5}, kOneOfRamp},
        // top-p on the full masses: .4 does not.
        Case{"sglang", kRamp, {.top_k = 2, .top_p = .5, .stage_order = kSglangOrder}, kTwoOfRamp},
        // min-p first leaves {.3, .4}, of which top-p .55 keeps one; last, top-p has kept two.
        Case{"min_p_first", kRamp, {.top_p = .55, .min_p = .7}, kOneOfRamp},
        Case{"min_p_last", kRamp, {.top_p = .55, .min_p = .7, .stage_order = kHfOrder}, kTwoOfRamp},
        Case{"explicit",
             kRamp,
             {.top_k = 2,
              .top_p = .6,
              .stage_order = StageOrder(Stage::kTopP, Stage::kTemperature, Stage::kTopK)},
             kTwoOfRamp}),
    [](const auto& tested) { return tested.param.name; });

// llama.cpp filters at temperature 1, and applies the temperature to the logits that are left.
TEST(TemperatureLastTest, FiltersSeeUndividedLogits) {
  const std::vector<float> logits = Logs(kRamp);
  const SamplingParams first = {.temperature = .25, .top_p = .8};
  const SamplingParams last = {.temperature = .25, .top_p = .8, .stage_order = kLlamaCppOrder};
  ExpectKept(KeptProbabilities(LogitRow(logits, first)), {{2, .240356}, {3, .759644}});
  ExpectKept(KeptProbabilities(LogitRow(logits, last)), {{1, .045326}, {2, .229462}, {3, .725212}});
}

TEST(XtcTest, LeavesATokenThatCanBeDrawn) {
  const SamplingParams params = {.xtc_probability = 1, .xtc_threshold = 0};
  const auto result = SampleRow(LogitRow({3, 2, -100, -200}, params));
  EXPECT_EQ(result.code, RowCode::kOk);
  EXPECT_EQ(result.token_ids, std::vector<uint32_t>{1});
}

TEST(XtcCoinTest, FallsAsOftenAsAsked) {
  const std::vector<float> logits = Logs(kRamp);
  const SamplingParams params = {.xtc_probability = .3, .xtc_threshold = .09};
  int removed = 0;
  constexpr int kTrials = 2000;
  for (uint64_t seed = 0; seed < kTrials; ++seed) {
    if (KeptProbabilities(LogitRow(logits, params, {.seed = seed})).size() == 1) ++removed;
  }
  // Binomial(2000, .3): deviation 20.5; the bound is exceeded once in 10^6.
  EXPECT_NEAR(removed, 600, 4.9 * 20.5);
}

// Binary fractions, so that the boundary is hit exactly.
INSTANTIATE_TEST_SUITE_P(
    Boundaries, FilterTest,
    ::testing::Values(
        Case{"top_p_reached_exactly", {.5f, .25f, .25f}, TopP(.5), {{0, 1}}},
        Case{"top_p_just_above",
             {.5f, .25f, .25f},
             TopP(std::nextafter(.5, 1.)),
             {{0, .666667}, {1, .333333}}},
        Case{"min_p_equal_is_kept", {.5f, .25f, .25f}, MinP(.5), {{0, .5}, {1, .25}, {2, .25}}},
        Case{"min_p_just_above", {.5f, .25f, .25f}, MinP(std::nextafter(.5, 1.)), {{0, 1}}},
        Case{"ties_at_top_k", {.25f, .25f, .25f, .25f}, TopK(2), {{0, .5}, {1, .5}}},
        Case{"ties_at_top_p", {.25f, .25f, .25f, .25f}, TopP(.5), {{0, .5}, {1, .5}}},
        Case{"top_k_above_vocab", {.5f, .5f}, TopK(1000), {{0, .5}, {1, .5}}},
        Case{"one_token", {7.f}, {.top_k = 1, .top_p = 0, .min_p = 1}, {{0, 1}}},
        // min-p keeps 3 of 4; top-k 2 of these; top-p .6 of the renormalised {4/7, 3/7} both.
        Case{"renormalised_in_order", kRamp, {.top_k = 2, .top_p = .6, .min_p = .3}, kTwoOfRamp},
        // 4/7 >= .5: after top-k renormalises, the first token reaches it by itself.
        Case{"top_k_then_top_p", kRamp, {.top_k = 2, .top_p = .5}, kOneOfRamp}),
    [](const auto& tested) { return tested.param.name; });

// With logits ln(p), only cases without equalities are certain.
TEST(FilterOfLogitsTest, KeepsThePublishedSets) {
  const std::vector<float> logits = Logs(kRamp);
  const auto kept = [&](const SamplingParams& params) {
    return KeptProbabilities(LogitRow(logits, params));
  };
  ExpectKept(kept(TopK(3)), kThreeOfRamp);
  ExpectKept(kept(TopP(.65)), kTwoOfRamp);
  ExpectKept(kept(TopP(.8)), kThreeOfRamp);
  ExpectKept(kept(MinP(.26)), kThreeOfRamp);
  ExpectKept(kept(MinP(.76)), kOneOfRamp);
  ExpectKept(kept({.temperature = .5}),
             {{0, .033333}, {1, .133333}, {2, .3}, {3, .533333}});  // squares, renormalised
}

TEST(SoftmaxTest, MatchesFlashInferExamples) {
  const std::vector<std::pair<std::vector<float>, std::vector<double>>> rows = {
      {{.8823f, .9150f, .3829f, .9593f, .3904f}, {.2309, .2385, .1401, .2493, .1412}},
      {{.6009f, .2566f, .7936f, .9408f, .1332f}, {.2019, .1431, .2448, .2837, .1265}},
      {{.9346f, .5936f, .8694f, .5677f, .7411f}, {.2401, .1707, .2249, .1664, .1979}},
      {{.4294f, .8854f, .5739f, .2666f, .6274f}, {.1724, .2719, .1991, .1465, .2101}}};
  const SamplingParams params;
  for (const auto& [logits, probabilities] : rows) {
    const auto actual = KeptProbabilities(LogitRow(logits, params));
    for (uint32_t id = 0; id < logits.size(); ++id) {
      EXPECT_NEAR(actual.at(id), probabilities[id], 6e-5);  // given to four decimals
    }
  }
}

TEST(GreedyTest, LowestIdWinsATie) {
  const SamplingParams greedy = {.temperature = 0};
  EXPECT_EQ(SampleRow(LogitRow({1, 3, 3, 2}, greedy)).token_ids, std::vector<uint32_t>{1});
  EXPECT_EQ(SampleRow(LogitRow({-0.0f, 0.0f}, greedy)).token_ids, std::vector<uint32_t>{0});
}

TEST(GreedyTest, SeveralDrawsTakeTheFirstTokensOfTheOrder) {
  const std::vector<float> logits = {1, 3, 3, 2};
  EXPECT_EQ(SampleRow(LogitRow(logits, {.temperature = 0, .num_samples = 3})).token_ids,
            (std::vector<uint32_t>{1, 2, 3}));
  EXPECT_EQ(SampleRow(LogitRow(logits, {.temperature = 0, .num_samples = 3, .replacement = true}))
                .token_ids,
            (std::vector<uint32_t>{1, 1, 1}));
}

}  // namespace
}  // namespace token_sampler
