// Tests the kept sets that transformers publishes for its logits warpers
// (tests/generation/test_logits_process.py), in its order of stages.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/params/stage_table.h"
#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using testing::KeptProbabilities;
using testing::LogitRow;
using testing::WeightRow;

// Sets the parameters of the preset HF.
SamplingParams Hf(SamplingParams params) {
  params.stage_order = kHfOrder;
  params.top_k_ties = TiePolicy::kKeepAll;
  return params;
}

std::vector<uint32_t> KeptIds(const RowInput& row, Sampler* sampler = nullptr) {
  std::vector<uint32_t> ids;
  for (const auto& [id, probability] : KeptProbabilities(row, sampler)) ids.push_back(id);
  return ids;
}

struct Case {
  std::string name;
  std::vector<float> probabilities;
  SamplingParams params;
  std::vector<uint32_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class TransformersTest : public ::testing::TestWithParam<Case> {};

TEST_P(TransformersTest, KeepsThePublishedSet) {
  const Case& c = GetParam();
  const SamplingParams params = Hf(c.params);
  EXPECT_EQ(KeptIds(WeightRow(c.probabilities, params)), c.kept);
}

INSTANTIATE_TEST_SUITE_P(
    All, TransformersTest,
    ::testing::Values(
        Case{"top_p_a", {.15f, .3f, .3f, .25f}, {.top_p = .8}, {1, 2, 3}},
        Case{"min_p_a", {.9f, .0274f, .047f, .0274f}, {.min_p = .05}, {0, 2}},
        Case{"min_p_b", {.15f, .3f, .3f, .25f}, {.min_p = .05}, {0, 1, 2, 3}},
        Case{"min_p_c", {.97f, .01f, .01f, .01f}, {.min_p = .05}, {0}},
        Case{"typical_a", {.97f, .01f, .01f, .01f}, {.typical_p = .5}, {0}},
        Case{"typical_b", {.4f, .2f, .2f, .2f}, {.typical_p = .5}, {1, 2, 3}},
        Case{"epsilon_a", {.87f, .099f, .001f, .03f}, {.epsilon_cutoff = .1}, {0}},
        Case{"epsilon_b", {.4f, .299f, .101f, .2f}, {.epsilon_cutoff = .1}, {0, 1, 2, 3}},
        Case{"eta_a", {0, .1f, .8f, .1f}, {.eta_cutoff = .0625}, {1, 2, 3}},
        Case{"eta_b", {.01f, .04f, .9f, .05f}, {.eta_cutoff = .0625}, {2}}),
    [](const auto& tested) { return tested.param.name; });

TEST(TransformersTopPTest, AnEqualityIsDecidedByTheExactSum) {
  // Here .3f + .5f is below .8 by 8e-17 of the row, whereas transformers' float32 sums reach .8.
  const std::vector<float> probabilities = {.3f, .1f, .1f, .5f};
  EXPECT_THAT(KeptIds(WeightRow(probabilities, Hf({.top_p = .8}))), ElementsAre(0, 1, 3));
  EXPECT_THAT(KeptIds(WeightRow(probabilities, Hf({.top_p = .79999}))), ElementsAre(0, 3));
}

TEST(TransformersTopKTest, KeepsTheLargestWhereverTheyAre) {
  const std::vector<float> ramp = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<float> turned = {10, 11, 12, 13, 14, 5, 6, 7, 8, 9};
  EXPECT_THAT(KeptIds(LogitRow(ramp, Hf({.top_k = 3}))), ElementsAre(7, 8, 9));
  EXPECT_THAT(KeptIds(LogitRow(turned, Hf({.top_k = 3}))), ElementsAre(2, 3, 4));
}

TEST(TransformersTopKTest, KeepsEqualsAndAtLeastWhatIsAsked) {
  const std::vector<float> uniform(5, 1.0f);
  const std::vector<float> ramp = {0, 1, 2, 3, 4};
  EXPECT_EQ(KeptIds(LogitRow(uniform, Hf({.top_k = 3}))).size(), 5u);
  EXPECT_THAT(KeptIds(LogitRow(ramp, Hf({.top_k = 1, .min_tokens_to_keep = 3}))),
              ElementsAre(2, 3, 4));
}

TEST(TransformersTypicalTest, KeepsEquals) {
  const std::vector<float> uniform(5, 1.0f);
  EXPECT_EQ(KeptIds(LogitRow(uniform, Hf({.typical_p = .5, .min_tokens_to_keep = 3}))).size(), 5u);
}

// Ties with a least number of tokens, in transformers 5.24: top-k keeps tokens that equal the last
// of the k or of the least number, epsilon and eta those that equal the last of the least number,
// typical those as far away as the token that reaches the mass.
struct TieCase {
  std::string name;
  std::vector<float> logits;
  SamplingParams params;
  std::vector<uint32_t> kept;
};

void PrintTo(const TieCase& c, std::ostream* os) { *os << c.name; }

class TransformersTieTest : public ::testing::TestWithParam<TieCase> {};

TEST_P(TransformersTieTest, KeepsTheSameSetOnEverySampler) {
  const TieCase& c = GetParam();
  const SamplingParams params = Hf(c.params);
  const std::unique_ptr<Sampler> cpu = CreateCpuSampler({.threads = 1}).value();
  EXPECT_EQ(KeptIds(LogitRow(c.logits, params)), c.kept);
  EXPECT_EQ(KeptIds(LogitRow(c.logits, params), cpu.get()), c.kept);
}

INSTANTIATE_TEST_SUITE_P(
    All, TransformersTieTest,
    ::testing::Values(
        TieCase{
            "top_k_1_of_3", {5, 4, 3, 3, 1}, {.top_k = 1, .min_tokens_to_keep = 3}, {0, 1, 2, 3}},
        TieCase{"top_k_2_of_4",
                {5, 4, 3, 3, 3, 1},
                {.top_k = 2, .min_tokens_to_keep = 4},
                {0, 1, 2, 3, 4}},
        TieCase{"typical_peak",
                {3, 0, 0, 0, -4, -60},
                {.typical_p = .3, .min_tokens_to_keep = 2},
                {0, 1}},
        TieCase{"typical_without_weight",
                {0, -100, -100, -100},
                {.typical_p = .5, .min_tokens_to_keep = 2},
                {0, 1}},
        TieCase{"typical_plateau",
                {2, 0, 0, 0, 0, -1, -1, -1},
                {.typical_p = .5, .min_tokens_to_keep = 3},
                {0, 1, 2}},
        TieCase{"typical_more_than_there_are",
                {0, 0, 0},
                {.typical_p = .01, .min_tokens_to_keep = 4},
                {0, 1, 2}},
        TieCase{
            "epsilon", {3, 1, 1, 0}, {.epsilon_cutoff = .5, .min_tokens_to_keep = 2}, {0, 1, 2}},
        TieCase{"epsilon_uniform", {1, 1, 1}, {.epsilon_cutoff = .5}, {0, 1, 2}},
        TieCase{"eta", {3, 1, 1, 0}, {.eta_cutoff = .9, .min_tokens_to_keep = 2}, {0, 1, 2}},
        TieCase{"min_p", {3, 1, 1, 0}, {.min_p = .9, .min_tokens_to_keep = 2}, {0, 1}},
        TieCase{"top_p", {3, 1, 1, 0}, {.top_p = .1, .min_tokens_to_keep = 2}, {0, 1}}),
    [](const auto& tested) { return tested.param.name; });

// The number of tokens that a filter keeps, at least two, of logits -5 .. 4 and of a hundred times
// these.
struct RampCase {
  std::string name;
  SamplingParams params;
  size_t kept;
  size_t kept_of_steep;
};

void PrintTo(const RampCase& c, std::ostream* os) { *os << c.name; }

class TransformersRampTest : public ::testing::TestWithParam<RampCase> {};

TEST_P(TransformersRampTest, KeepsAsManyAsPublished) {
  std::vector<float> ramp;
  std::vector<float> steep;
  for (int i = -5; i < 5; ++i) {
    ramp.push_back(static_cast<float>(i));
    steep.push_back(static_cast<float>(100 * i));
  }
  SamplingParams params = Hf(GetParam().params);
  params.min_tokens_to_keep = 2;
  EXPECT_EQ(KeptIds(LogitRow(ramp, params)).size(), GetParam().kept);
  EXPECT_EQ(KeptIds(LogitRow(steep, params)).size(), GetParam().kept_of_steep);
}

INSTANTIATE_TEST_SUITE_P(All, TransformersRampTest,
                         ::testing::Values(RampCase{"top_p", {.top_p = .9}, 3, 2},
                                           RampCase{"min_p", {.min_p = .9}, 2, 2},
                                           RampCase{"typical", {.typical_p = .7}, 2, 2},
                                           RampCase{"epsilon", {.epsilon_cutoff = .05}, 3, 2},
                                           RampCase{"eta", {.eta_cutoff = .1}, 2, 2}),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace token_sampler
