// Kept sets that other engines' own test suites publish: llama.cpp (tests/test-sampling.cpp),
// transformers (tests/generation/test_logits_process.py), TensorRT-LLM
// (unit_tests/layers/topKSamplingLayerTest.cpp), and analytic cases beside them.

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

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
    EXPECT_NEAR(actual.at(id), probability, 1e-5) << "token " << id;  // the suites' tolerance
  }
}

class FilterTest : public ::testing::TestWithParam<Case> {};

// Probabilities as plain weights are exact, so the equalities of the suites are decided as there.
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
        Case{"top_p_0", kRamp, TopP(0), kOneOfRamp},
        Case{"top_p_0_7", kRamp, TopP(.69999), kTwoOfRamp},
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
    Transformers, FilterTest,
    ::testing::Values(
        Case{"top_p_a", {.3f, .1f, .1f, .5f}, TopP(.79999), {{0, .375}, {3, .625}}},
        Case{"top_p_b",
             {.15f, .3f, .3f, .25f},
             TopP(.8),
             {{1, .352941}, {2, .352941}, {3, .294118}}},
        Case{"min_p_a", {.9f, .0274f, .047f, .0274f}, MinP(.05), {{0, .950370}, {2, .049630}}},
        Case{"min_p_b", {.15f, .3f, .3f, .25f}, MinP(.05), {{0, .15}, {1, .3}, {2, .3}, {3, .25}}},
        Case{"min_p_c", {.97f, .01f, .01f, .01f}, MinP(.05), {{0, 1}}}),
    [](const auto& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Epsilon, FilterTest,
    ::testing::Values(
        Case{"transformers_a", {.87f, .099f, .001f, .03f}, {.epsilon_cutoff = .1}, {{0, 1}}},
        Case{"transformers_b",
             {.4f, .299f, .101f, .2f},
             {.epsilon_cutoff = .1},
             {{0, .4}, {1, .299}, {2, .101}, {3, .2}}},
        Case{"equal_is_kept",
             {.5f, .25f, .25f},
             {.epsilon_cutoff = .25},
             {{0, .5}, {1, .25}, {2, .25}}},
        Case{"at_least_one", {.5f, .25f, .25f}, {.epsilon_cutoff = .9}, {{0, 1}}}),
    [](const auto& tested) { return tested.param.name; });

// Exclude Top Choices, always (llama.cpp: probability .99 and a fixed seed).
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

// The same parameters keep different sets in the orders of different engines.
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

// llama.cpp filters at temperature 1 and divides what is left.
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
        // 4/7 >= .5: renormalising by top-k lets the first token alone reach it.
        Case{"top_k_then_top_p", kRamp, {.top_k = 2, .top_p = .5}, kOneOfRamp}),
    [](const auto& tested) { return tested.param.name; });

// Through ln(p) only the cases away from an equality are decided.
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

// TensorRT-LLM asserts which ids may come out over 64 seeds: probabilities .4 .3 .2 .1 at 4 .. 7.
TEST(AllowedIdsTest, MatchesTensorRtLlm) {
  constexpr float kMasked = -std::numeric_limits<float>::max();
  const std::vector<float> logits = {kMasked, kMasked,  kMasked,  kMasked,
                                     -.9163f, -1.2040f, -1.6094f, -2.3026f};
  const auto drawn = [&](const SamplingParams& params) {
    std::set<uint32_t> ids;
    for (uint64_t seed = 0; seed < 64; ++seed) {
      ids.insert(SampleRow(LogitRow(logits, params, {.seed = seed})).token_ids.at(0));
    }
    return ids;
  };
  using Ids = std::set<uint32_t>;
  EXPECT_EQ(drawn(TopK(1)), (Ids{4}));
  EXPECT_EQ(drawn(TopK(2)), (Ids{4, 5}));
  EXPECT_EQ(drawn({.top_k = 2, .top_p = .3}), (Ids{4}));
  EXPECT_EQ(drawn({.top_k = 2, .top_p = .6}), (Ids{4, 5}));
  EXPECT_EQ(drawn(TopP(.3)), (Ids{4}));
  EXPECT_EQ(drawn(TopP(.5)), (Ids{4, 5}));
  EXPECT_EQ(drawn(TopP(.8)), (Ids{4, 5, 6}));
  EXPECT_EQ(drawn({.temperature = 0}), (Ids{4}));
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

// A queue of filters over logits ln(i), as llama.cpp's test_sampler_queue: the kept sets have a
// closed form. Its orders that this pipeline has: min-p, top-k, top-p.
TEST(FilterQueueTest, ClosedFormOnALinearRamp) {
  constexpr uint32_t kVocab = 10'000;
  std::vector<float> weights;
  for (uint32_t id = 0; id < kVocab; ++id) weights.push_back(static_cast<float>(id));
  for (const double top_p : {.0003, .8, 1.0}) {
    for (const double min_p : {1e-12, .1, 9997.9 / 9999}) {
      const auto kept =
          KeptProbabilities(WeightRow(weights, {.top_k = 100, .top_p = top_p, .min_p = min_p}));
      // ids >= min_p * largest, of these the 100 largest, of these the shortest suffix with the
      // mass
      uint32_t first = static_cast<uint32_t>(std::ceil(min_p * (kVocab - 1)));
      first = std::max(first, kVocab - 100);
      uint64_t total = 0;
      for (uint32_t id = first; id < kVocab; ++id) total += id;
      uint32_t smallest = kVocab;
      for (uint64_t mass = 0;
           smallest > first && (mass == 0 || double(mass) < top_p * double(total));) {
        mass += --smallest;
      }
      EXPECT_EQ(kept.begin()->first, smallest) << top_p << " " << min_p;
      EXPECT_EQ(kept.size(), kVocab - smallest) << top_p << " " << min_p;
    }
  }
}

}  // namespace
}  // namespace token_sampler
