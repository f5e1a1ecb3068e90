// Tests kept sets and probabilities of the filters that fewer engines have: answers of llama.cpp
// (tests/test-sampling.cpp), and values of the papers' formulas in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/params/stage_table.h"
#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using testing::KeptProbabilities;
using testing::LogitRow;
using testing::SampleRow;
using testing::WeightRow;

using Kept = std::map<uint32_t, double>;

const std::vector<float> kRamp = {.1f, .2f, .3f, .4f};
constexpr float kMasked = -std::numeric_limits<float>::infinity();

std::vector<float> Logs(const std::vector<float>& probabilities) {
  std::vector<float> logits;
  for (const float p : probabilities) logits.push_back(std::log(p));
  return logits;
}

void ExpectKept(const Kept& actual, const Kept& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [id, probability] : expected) {
    ASSERT_TRUE(actual.contains(id)) << "token " << id;
    EXPECT_NEAR(actual.at(id), probability, 1e-5) << "token " << id;
  }
}

// ---- Typical ----

TEST(TypicalTest, MatchesLlamaCpp) {
  const SamplingParams params = {.typical_p = .5};
  ExpectKept(KeptProbabilities(WeightRow({.97f, .01f, .01f, .01f}, params)), {{0, 1}});
  ExpectKept(KeptProbabilities(WeightRow({.4f, .2f, .2f, .2f}, params)),
             {{1, .33333}, {2, .33333}, {3, .33333}});
  ExpectKept(KeptProbabilities(LogitRow(Logs({.4f, .2f, .2f, .2f}), params)),
             {{1, .33333}, {2, .33333}, {3, .33333}});
}

// llama.cpp goes on until the mass exceeds typical_p, so it keeps one more token if it is equal.
TEST(TypicalTest, TheNextDoubleAboveAnEqualMassKeepsOneMore) {
  const std::vector<float> uniform(4, 1.0f);
  const SamplingParams equal = {.typical_p = .5};
  const SamplingParams above = {.typical_p = std::nextafter(.5, 1.)};
  EXPECT_EQ(KeptProbabilities(WeightRow(uniform, equal)).size(), 2u);
  EXPECT_EQ(KeptProbabilities(WeightRow(uniform, above)).size(), 3u);
}

TEST(TypicalTest, KeepsAllWhereTheMinimumIsAboveTheirNumber) {
  const std::unique_ptr<Sampler> cpu = CreateCpuSampler({.threads = 1}).value();
  for (Sampler* const sampler : {static_cast<Sampler*>(nullptr), cpu.get()}) {
    const SamplingParams one = {.typical_p = .01, .min_tokens_to_keep = 4};
    const std::vector<float> zeros(3);
    const RowInput equals = LogitRow(zeros, one, {.seed = 1});
    EXPECT_EQ(SampleRow(equals, sampler).token_ids, std::vector<uint32_t>{2});
    EXPECT_EQ(KeptProbabilities(equals, sampler).size(), 3u);
    const SamplingParams three = {.num_samples = 3, .typical_p = .25, .min_tokens_to_keep = 5};
    std::vector<uint32_t> drawn =
        SampleRow(WeightRow({20, 0, 0, 20, 20}, three), sampler).token_ids;
    std::sort(drawn.begin(), drawn.end());
    EXPECT_EQ(drawn, (std::vector<uint32_t>{0, 3, 4}));
  }
}

// XTC leaves tokens 3 and 4, whose weights are tiny next to that of token 0.
TEST(TemperatureTest, WeighsAnewEvenAtOne) {
  const std::unique_ptr<Sampler> cpu = CreateCpuSampler({.threads = 1}).value();
  const SamplingParams params = {
      .xtc_probability = 1, .xtc_threshold = 0, .stage_order = kLlamaCppOrder};
  for (Sampler* const sampler : {static_cast<Sampler*>(nullptr), cpu.get()}) {
    ExpectKept(KeptProbabilities(LogitRow({31, 1, .5f, 0, -1}, params), sampler),
               {{3, .73106}, {4, .26894}});
  }
}

TEST(TypicalTest, OfEqualsItKeepsTheFewestOrAll) {
  const std::vector<float> uniform(5, 1.0f);
  const SamplingParams fewest = {.typical_p = .5};
  const SamplingParams all = {.top_k_ties = TiePolicy::kKeepAll, .typical_p = .5};
  EXPECT_EQ(KeptProbabilities(WeightRow(uniform, fewest)).size(), 3u);
  EXPECT_EQ(KeptProbabilities(WeightRow(uniform, all)).size(), 5u);  // transformers
}

TEST(TypicalTest, DoesNotDependOnTheLogitsLevelOrScale) {
  // Temperature 2 of doubled logits is temperature 1 of the logits.
  const std::vector<float> logits = {.5f, -1.25f, 2, 1.5f, -3, .75f, 1.5f, 0};
  std::vector<float> doubled;
  for (const float logit : logits) doubled.push_back(2 * logit + 64);
  const SamplingParams once = {.typical_p = .6};
  const SamplingParams twice = {.temperature = 2, .typical_p = .6};
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, once)), KeptProbabilities(LogitRow(doubled, twice)));
}

// ---- Eta ----

TEST(EtaTest, TheEntropyLowersTheCutoff) {
  // Entropy 2.71847: the cutoff is sqrt(.1) * exp(-2.71847) = .02086, below .05.
  std::vector<float> flat(16, .05f);
  flat.push_back(.2f);
  EXPECT_EQ(KeptProbabilities(WeightRow(flat, {.eta_cutoff = .1})).size(), 17u);
  EXPECT_EQ(KeptProbabilities(WeightRow(flat, {.epsilon_cutoff = .1})).size(), 1u);
}

// ---- Top-n-sigma ----

TEST(TopNSigmaTest, MatchesLlamaCpp) {
  const std::vector<float> logits = Logs(kRamp);
  ExpectKept(KeptProbabilities(LogitRow(logits, {.top_n_sigma = 1})), {{2, .428571}, {3, .571429}});
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, {.top_n_sigma = 0})).size(), 4u);
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, {.top_n_sigma = 3})).size(), 4u);
}

TEST(TopNSigmaTest, MaskedTokensDoNotCount) {
  // 0 and -2: deviation 1.
  const std::vector<float> logits = {0, kMasked, -2, kMasked};
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, {.top_n_sigma = 2})).size(), 2u);
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, {.top_n_sigma = 1.999})).size(), 1u);
}

TEST(TopNSigmaTest, SurvivesAnyRange) {
  const std::vector<float> logits = {3e38f, -3e38f, 3e38f, 1};
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, {.top_n_sigma = .5})).size(), 2u);
  const std::vector<float> denormal = {1e-45f, 0, -1e-45f};
  EXPECT_EQ(KeptProbabilities(LogitRow(denormal, {.top_n_sigma = 1})).size(), 1u);
}

// ---- Temperatures ----

Kept AtDynamicTemperature(double temperature, double range, double exponent) {
  const SamplingParams params = {.temperature = temperature,
                                 .dynamic_temperature = DynamicTemperature{range, exponent}};
  return KeptProbabilities(LogitRow(Logs(kRamp), params));
}

TEST(DynamicTemperatureTest, MatchesLlamaCpp) {
  ExpectKept(AtDynamicTemperature(1, 0, 1), {{0, .1}, {1, .2}, {2, .3}, {3, .4}});
  ExpectKept(AtDynamicTemperature(0, 0, 1), {{3, 1}});
}

TEST(DynamicTemperatureTest, FollowsTheEntropy) {
  // H = 1.279854, ln 4 = 1.386294.
  ExpectKept(AtDynamicTemperature(1, .5, 1),
             {{0, .134408}, {1, .218745}, {2, .290847}, {3, .356001}});
  ExpectKept(AtDynamicTemperature(.8, .3, 2),
             {{0, .101158}, {1, .200742}, {2, .299740}, {3, .398359}});
  // The lower end is cut at 0.
  ExpectKept(AtDynamicTemperature(0, 1, 1),
             {{0, .091789}, {1, .194472}, {2, .301713}, {3, .412025}});
  ExpectKept(AtDynamicTemperature(1, 2, 1),
             {{0, .184474}, {1, .236932}, {2, .274286}, {3, .304308}});
}

Kept AtStep(const TemperatureSchedule& schedule, uint64_t step) {
  const SamplingParams params = {.temperature_schedule = schedule};
  return KeptProbabilities(LogitRow({1, 0}, params, {.step = step}));
}

double TemperatureOf(const Kept& kept) { return 1 / std::log(kept.at(0) / kept.at(1)); }

TEST(TemperatureScheduleTest, RunsFromBeginToEndAndStays) {
  using Kind = TemperatureSchedule::Kind;
  const TemperatureSchedule linear = {Kind::kLinear, 2, .5, 3};
  EXPECT_NEAR(TemperatureOf(AtStep(linear, 0)), 2, 1e-5);
  EXPECT_NEAR(TemperatureOf(AtStep(linear, 1)), 1.5, 1e-5);
  EXPECT_NEAR(TemperatureOf(AtStep(linear, 2)), 1, 1e-5);
  EXPECT_NEAR(TemperatureOf(AtStep(linear, 3)), .5, 1e-5);
  EXPECT_NEAR(TemperatureOf(AtStep(linear, ~uint64_t{0})), .5, 1e-5);
  const TemperatureSchedule exponential = {Kind::kExponential, 4, .25, 4};
  EXPECT_NEAR(TemperatureOf(AtStep(exponential, 1)), 2, 1e-5);
  EXPECT_NEAR(TemperatureOf(AtStep(exponential, 2)), 1, 1e-5);
  EXPECT_NEAR(TemperatureOf(AtStep(exponential, 9)), .25, 1e-5);
  // A schedule that ends at 0 ends greedy.
  EXPECT_EQ(AtStep({Kind::kLinear, 1, 0, 2}, 2).size(), 1u);
}

TEST(GreedyThresholdTest, IsGreedyWhereTheModelIsSure) {
  const SamplingParams below = {.greedy_threshold = .5};
  const SamplingParams at = {.greedy_threshold = .25};
  ExpectKept(KeptProbabilities(WeightRow({1, 1, 1, 1}, below)),
             {{0, .25}, {1, .25}, {2, .25}, {3, .25}});
  ExpectKept(KeptProbabilities(WeightRow({1, 1, 1, 1}, at)), {{0, 1}});
  // At temperature 2 the largest probability falls from .75 to .634.
  const std::vector<float> logits = Logs({.75f, .25f});
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, {.greedy_threshold = .7})).size(), 1u);
  EXPECT_EQ(KeptProbabilities(LogitRow(logits, {.temperature = 2, .greedy_threshold = .7})).size(),
            2u);
}

// ---- Mirostat ----

// Returns the logits of a Zipf law with exponent s.
std::vector<float> ZipfLogits(double s, int vocab) {
  std::vector<float> logits;
  for (int i = 1; i <= vocab; ++i) logits.push_back(static_cast<float>(-s * std::log(i)));
  return logits;
}

size_t KeptByMirostat(uint32_t version, const std::vector<float>& logits, double mu) {
  const SamplingParams params = {.mirostat = Mirostat{.version = version}};
  const RowState state = {.mirostat_mu = mu};
  RowInput row = LogitRow(logits, params);
  row.state = &state;
  return KeptProbabilities(row).size();
}

TEST(MirostatTest, Version1FitsAZipfLaw) {
  // The fit finds s again; k = (eps * 2^mu / (1 - N^-eps))^(1/s) is 4.387, 44.218 and 2.045.
  EXPECT_EQ(KeptByMirostat(1, ZipfLogits(1.2, 50), 4), 4u);
  EXPECT_EQ(KeptByMirostat(1, ZipfLogits(1.2, 50), 8), 44u);
  EXPECT_EQ(KeptByMirostat(1, ZipfLogits(1.0, 50), 3), 2u);
  EXPECT_EQ(KeptByMirostat(1, ZipfLogits(1.2, 50), 1e6), 50u);
  EXPECT_EQ(KeptByMirostat(1, ZipfLogits(1.2, 50), -1e6), 1u);
  EXPECT_EQ(KeptByMirostat(1, std::vector<float>(9, 1.0f), 3), 9u);  // nothing to fit
  EXPECT_EQ(KeptByMirostat(1, {1}, 3), 1u);
}

TEST(MirostatTest, Version2CutsAtTheSurprise) {
  // Surprises of .4, .3, .2, .1: 1.32, 1.74, 2.32, 3.32 bits.
  const std::vector<float> logits = Logs(kRamp);
  EXPECT_EQ(KeptByMirostat(2, logits, 3.4), 4u);
  EXPECT_EQ(KeptByMirostat(2, logits, 3.3), 3u);
  EXPECT_EQ(KeptByMirostat(2, logits, 2), 2u);
  EXPECT_EQ(KeptByMirostat(2, logits, 1.4), 1u);
  EXPECT_EQ(KeptByMirostat(2, logits, -5), 1u);
}

TEST(MirostatTest, TheStateLearnsFromTheSurprise) {
  const SamplingParams params = {.mirostat = Mirostat{.version = 2, .tau = 3, .eta = .5}};
  const RowState state = {.mirostat_mu = 2.0};  // keeps {.3, .4}
  const std::vector<float> logits = Logs(kRamp);
  RowInput row = LogitRow(logits, params);
  row.state = &state;
  const RowResult result = SampleRow(row);
  ASSERT_EQ(result.token_ids.size(), 1u);
  const double probability = result.token_ids[0] == 3 ? .4 / .7 : .3 / .7;
  EXPECT_NEAR(*result.state.mirostat_mu, 2 - .5 * (-std::log2(probability) - 3), 1e-6);
  EXPECT_FALSE(result.state.top_p.has_value());

  // Without a state it starts at twice tau.
  row.state = nullptr;
  EXPECT_NEAR(*SampleRow(row).state.mirostat_mu,
              6 - .5 * (-std::log2(kRamp[SampleRow(row).token_ids[0]]) - 3), 1e-6);
}

TEST(MirostatTest, HoldsTheTargetSurpriseOverManySteps) {
  // With both versions on a Zipf row, the mean surprise approaches tau.
  const std::vector<float> logits = ZipfLogits(1.1, 5000);
  for (const uint32_t version : {1u, 2u}) {
    const SamplingParams params = {.mirostat = Mirostat{.version = version, .tau = 3, .eta = .1}};
    RowState state;
    double surprise = 0;
    constexpr int kSteps = 2000;
    for (uint64_t step = 0; step < kSteps; ++step) {
      RowInput row = LogitRow(logits, params, {.seed = 7, .step = step});
      row.state = &state;
      const RowState before = state;
      state = SampleRow(row).state;
      const double mu = before.mirostat_mu.value_or(6);
      surprise += 3 - (*state.mirostat_mu - mu) / .1;
    }
    // The sum telescopes: the mean differs from tau by (mu_first - mu_last) / (eta * steps).
    EXPECT_NEAR(surprise / kSteps, 3, .1) << version;
  }
}

// ---- Adaptive-p ----

TEST(AdaptivePTest, MovesMassToTheTarget) {
  const std::vector<float> logits = Logs(kRamp);
  const SamplingParams half = {.adaptive_p = AdaptiveP{.target = .5}};
  ExpectKept(KeptProbabilities(LogitRow(logits, half)),
             {{0, .000960}, {1, .013178}, {2, .135893}, {3, .849969}});
  const SamplingParams fifth = {.adaptive_p = AdaptiveP{.target = .2}};
  ExpectKept(KeptProbabilities(LogitRow(logits, fifth)),
             {{0, .224172}, {1, .515815}, {2, .224172}, {3, .035841}});
}

TEST(AdaptivePTest, TheStateFollowsTheProbabilitiesOfWhatWasDrawn) {
  const std::vector<float> logits = Logs(kRamp);
  const SamplingParams params = {.adaptive_p = AdaptiveP{.target = .5, .decay = .8}};
  RowInput row = LogitRow(logits, params);
  const RowResult first = SampleRow(row);
  const double drawn = kRamp[first.token_ids[0]];
  EXPECT_NEAR(*first.state.adaptive_p_sum, drawn + .8 * (.5 / .2), 1e-6);
  EXPECT_NEAR(*first.state.adaptive_p_weight, 1 + .8 * (1 / .2), 1e-12);
  // 2 * .5 - 1 = 0 is then the target: the least likely token is favoured.
  const RowState state = {.adaptive_p_sum = 3.0, .adaptive_p_weight = 3.0};
  row.state = &state;
  const Kept kept = KeptProbabilities(row);
  EXPECT_GT(kept.at(0), kept.at(1));
  EXPECT_GT(kept.at(1), kept.at(3));
}

// ---- Top-p decay ----

TEST(TopPDecayTest, AResetTokenRestoresTheStart) {
  SamplingParams params = {.top_p = .8,
                           .top_p_decay = TopPDecay{.decay = .5, .min = .1, .reset_ids = {1}}};
  const RowState state = {.top_p = .3};
  const std::vector<float> weights = {0, 1};
  RowInput row = WeightRow(weights, params);
  row.state = &state;
  EXPECT_EQ(SampleRow(row).state.top_p, .8);
  params.top_p_decay->reset_ids = {0};
  EXPECT_EQ(SampleRow(row).state.top_p, .15);
}

// ---- States that do not fit ----

TEST(StateTest, IsCheckedRowByRow) {
  const SamplingParams off;
  const SamplingParams on = {.mirostat = Mirostat{}};
  const std::vector<float> logits = {1, 2};
  RowState state = {.mirostat_mu = 3.0};
  RowInput row = LogitRow(logits, off);
  row.state = &state;
  RowResult result = SampleRow(row);
  EXPECT_EQ(result.code, RowCode::kInvalidInput);
  EXPECT_EQ(result.message, "states.mirostat_mu must not be set while mirostat is off");
  row.params = &on;
  EXPECT_EQ(SampleRow(row).code, RowCode::kOk);
  state.mirostat_mu = std::nan("");
  result = SampleRow(row);
  EXPECT_EQ(result.code, RowCode::kInvalidInput);
  EXPECT_EQ(result.message, "states.mirostat_mu must be in [-1e6, 1e6], got nan");
}

}  // namespace
}  // namespace token_sampler
