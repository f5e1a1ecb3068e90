// Tests the tokens that TensorRT-LLM's tests allow
// (cpp/tests/unit_tests/layers/topKSamplingLayerTest.cpp and topPSamplingLayerTest.cpp):
// probabilities .4 .3 .2 .1 at different places in each step.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "sampler/params/stage_table.h"
#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using testing::KeptProbabilities;
using testing::LogitRow;
using testing::SampleRow;
using Ids = std::set<uint32_t>;

constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr uint64_t kSeeds = 64;

std::vector<float> StepLogits(uint64_t step) {
  constexpr uint32_t kFirst[] = {4, 0, 2, 0};
  constexpr float kLogits[] = {-.9163f, -1.2040f, -1.6094f, -2.3026f};
  std::vector<float> logits(8, kMasked);
  std::copy(std::begin(kLogits), std::end(kLogits), logits.begin() + kFirst[step]);
  return logits;
}

Ids Drawn(const SamplingParams& params) {
  const std::vector<float> logits = StepLogits(0);
  Ids ids;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    ids.insert(SampleRow(LogitRow(logits, params, {.seed = seed})).token_ids.at(0));
  }
  return ids;
}

TEST(TensorRtLlmTest, DrawsTheAllowedTokens) {
  EXPECT_EQ(Drawn({.top_k = 1}), (Ids{4}));
  EXPECT_EQ(Drawn({.top_k = 2}), (Ids{4, 5}));
  EXPECT_EQ(Drawn({.top_k = 2, .top_p = .3}), (Ids{4}));
  EXPECT_EQ(Drawn({.top_p = .3}), (Ids{4}));
  EXPECT_EQ(Drawn({.top_p = .5}), (Ids{4, 5}));
  EXPECT_EQ(Drawn({.top_p = .8}), (Ids{4, 5, 6}));
  EXPECT_EQ(Drawn({.top_p = 0}), (Ids{4}));
  EXPECT_EQ(Drawn({.temperature = 0}), (Ids{4}));
}

TEST(TensorRtLlmTest, TopPBehindTopKSeesItsMass) {
  // After top-k 2, .4 / .7 reaches .5. Its test allows {4, 5}, but its kernel also draws only 4: it
  // goes from the largest to at most .5 * .7 = .35 of the mass, which is below .4.
  EXPECT_EQ(Drawn({.top_k = 2, .top_p = .5}), (Ids{4}));
  // On the full mass .4 does not reach .5.
  EXPECT_EQ(Drawn({.top_k = 2, .top_p = .5, .stage_order = kSglangOrder}), (Ids{4, 5}));
}

TEST(TensorRtLlmTest, ATopPOfZeroKeepsOneBesideTopKToo) {
  // There, top-p 0 with a top-k is off and allows {4, 5}. Here, 1 is off.
  EXPECT_EQ(Drawn({.top_k = 2, .top_p = 0}), (Ids{4}));
  EXPECT_EQ(Drawn({.top_k = 2, .top_p = 1}), (Ids{4, 5}));
}

// A row of TopPDecay, and the tokens that it allows in each of four steps.
struct DecayCase {
  std::string name;
  double top_p;
  double decay;
  double min;
  std::vector<uint32_t> reset_ids;
  std::vector<Ids> allowed;
};

void PrintTo(const DecayCase& c, std::ostream* os) { *os << c.name; }

class TopPDecayTest : public ::testing::TestWithParam<DecayCase> {};

TEST_P(TopPDecayTest, KeepsTheAllowedTokens) {
  const DecayCase& c = GetParam();
  const SamplingParams params = {
      .top_p = c.top_p,
      .top_p_decay = TopPDecay{.decay = c.decay, .min = c.min, .reset_ids = c.reset_ids}};
  // A set may depend on a reset token in an earlier step, so collect it over all seeds.
  std::vector<Ids> kept(c.allowed.size());
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    RowState state;
    for (uint64_t step = 0; step < kept.size(); ++step) {
      const std::vector<float> logits = StepLogits(step);
      RowInput row = LogitRow(logits, params, {.seed = seed, .step = step});
      row.state = &state;
      for (const auto& [id, probability] : KeptProbabilities(row)) kept[step].insert(id);
      state = SampleRow(row).state;
    }
  }
  EXPECT_EQ(kept, c.allowed);
}

// TensorRT-LLM's rows, in its order. If token 2 is drawn, rows 0, 2 and 4 return to the initial
// top-p.
INSTANTIATE_TEST_SUITE_P(
    All, TopPDecayTest,
    ::testing::Values(DecayCase{"row_0", .8, .3, .5, {2}, {{4, 5, 6}, {0, 1}, {2, 3}, {0, 1, 2}}},
                      DecayCase{"row_1", .5, .3, .1, {}, {{4, 5}, {0}, {2}, {0}}},
                      DecayCase{"row_2", .3, .3, .3, {2}, {{4}, {0}, {2}, {0}}},
                      DecayCase{"row_3", .2, .9, .1, {}, {{4}, {0}, {2}, {0}}},
                      DecayCase{"row_4", .5, .3, .1, {2}, {{4, 5}, {0}, {2}, {0, 1}}},
                      DecayCase{"row_5", 1, .8, .1, {}, {{4, 5, 6, 7}, {0, 1, 2}, {2, 3}, {0, 1}}}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace token_sampler
