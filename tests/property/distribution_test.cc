// Tests that draws have the distribution that softmax or the weights define. Seeds are fixed. A
// correct sampler exceeds each bound once in 10^6 (quantiles of the chi-square and normal
// distributions), and each test has a twin that must be rejected.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "sampler/arithmetic/weight.h"
#include "sampler/cpu/cpu_sampler.h"
#include "tests/testing/sample_row.h"
#include "tests/testing/statistics.h"

namespace token_sampler {
namespace {

using testing::ChiSquare;
using testing::LogitRow;
using testing::SampleRow;
using testing::WeightRow;

constexpr double kCritical2 = 27.63;   // 2 degrees of freedom, 10^-6
constexpr double kCritical19 = 63.68;  // 19 degrees of freedom, 10^-6
constexpr double kCriticalZ = 4.89;    // two-sided normal, 10^-6

std::vector<uint64_t> Count(const std::vector<uint32_t>& token_ids, size_t vocab) {
  std::vector<uint64_t> counts(vocab);
  for (const uint32_t id : token_ids) ++counts.at(id);
  return counts;
}

std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> probabilities;
  const double largest = *std::max_element(logits.begin(), logits.end());
  for (const float x : logits) probabilities.push_back(std::exp((x - largest) / temperature));
  const double total = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
  for (double& p : probabilities) p /= total;
  return probabilities;
}

TEST(DistributionTest, WeightsInProportion) {
  const RowResult result =
      SampleRow(WeightRow({1, 2, 5}, {.num_samples = 10'000, .replacement = true}, {.seed = 1}));
  const std::vector<uint64_t> counts = Count(result.token_ids, 3);
  EXPECT_LT(ChiSquare(counts, {.125, .25, .625}), kCritical2);
  EXPECT_GT(ChiSquare(counts, {.16, .25, .59}), kCritical2);
}

TEST(DistributionTest, SoftmaxOfTheSameNumbers) {
  const std::vector<float> logits = {1, 2, 5};
  const std::vector<double> probabilities = Softmax(logits, 1.0);
  EXPECT_NEAR(probabilities[0], .017, .001);
  EXPECT_NEAR(probabilities[1], .047, .001);
  EXPECT_NEAR(probabilities[2], .936, .001);
  const RowResult result =
      SampleRow(LogitRow(logits, {.num_samples = 10'000, .replacement = true}, {.seed = 2}));
  const std::vector<uint64_t> counts = Count(result.token_ids, 3);
  EXPECT_LT(ChiSquare(counts, probabilities), kCritical2);
  EXPECT_GT(ChiSquare(counts, Softmax(logits, 1.2)), kCritical2);
}

// Draws one token per step, like an engine.
TEST(DistributionTest, OneDrawPerStepMatchesSoftmaxAtItsTemperature) {
  std::vector<float> logits;
  for (int i = 0; i < 20; ++i) logits.push_back(static_cast<float>(i % 7) * 0.4f);
  for (const double temperature : {0.5, 1.0, 2.0}) {
    const SamplingParams params = {.temperature = temperature};
    std::vector<uint64_t> counts(20);
    for (uint64_t step = 0; step < 20'000; ++step) {
      ++counts[SampleRow(LogitRow(logits, params, {.seed = 77, .step = step})).token_ids[0]];
    }
    EXPECT_LT(ChiSquare(counts, Softmax(logits, temperature)), kCritical19);
    EXPECT_GT(ChiSquare(counts, Softmax(logits, temperature * 1.4)), kCritical19);
  }
}

TEST(DistributionTest, SeedsStepsAndStreamsAreIndependentGenerators) {
  const std::vector<float> logits(16, 0.0f);
  const std::vector<double> uniform(256, 1.0 / 256);
  constexpr double kCritical255 = 377.08;  // 255 degrees of freedom, 10^-6
  // Pairs of draws from neighbouring keys fill the square evenly.
  const auto pairs = [&](RowKey a_step, uint64_t seed_delta, uint64_t step_delta,
                         uint32_t stream_delta) {
    std::vector<uint64_t> counts(256);
    for (uint64_t i = 0; i < 20'000; ++i) {
      const RowKey a = {a_step.seed + i * 1000, a_step.step, a_step.stream};
      const RowKey b = {a.seed + seed_delta, a.step + step_delta, a.stream + stream_delta};
      ++counts[SampleRow(LogitRow(logits, {}, a)).token_ids[0] * 16 +
               SampleRow(LogitRow(logits, {}, b)).token_ids[0]];
    }
    return counts;
  };
  EXPECT_LT(ChiSquare(pairs({9, 4, 0}, 1, 0, 0), uniform), kCritical255);
  EXPECT_LT(ChiSquare(pairs({9, 4, 0}, 0, 1, 0), uniform), kCritical255);
  EXPECT_LT(ChiSquare(pairs({9, 4, 0}, 0, 0, 1), uniform), kCritical255);
  EXPECT_GT(ChiSquare(pairs({9, 4, 0}, 0, 0, 0), uniform), kCritical255);
}

// Without replacement the first two draws follow Plackett-Luce: p_i * p_j / (1 - p_i).
TEST(DistributionTest, WithoutReplacementFollowsPlackettLuce) {
  const std::vector<float> weights = {1, 2, 5};
  const std::vector<double> p = {.125, .25, .625};
  std::vector<uint64_t> counts(9);
  for (uint64_t seed = 0; seed < 20'000; ++seed) {
    const RowResult result = SampleRow(WeightRow(weights, {.num_samples = 2}, {.seed = seed}));
    ++counts[result.token_ids[0] * 3 + result.token_ids[1]];
  }
  std::vector<double> expected(9);
  std::vector<double> with_replacement(9);
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      if (i != j) expected[i * 3 + j] = p[i] * p[j] / (1 - p[i]);
      if (i != j)
        with_replacement[i * 3 + j] = p[i] * p[j] / (1 - .125 * .125 - .25 * .25 - .625 * .625);
    }
  }
  constexpr double kCritical5 = 35.89;  // 5 degrees of freedom, 10^-6
  EXPECT_LT(ChiSquare(counts, expected), kCritical5);
  EXPECT_GT(ChiSquare(counts, with_replacement), kCritical5);
}

// 262,144 tail tokens, 20.5 below one head: the tail's mass is 3.3e-4, each tail token's 1.2e-9.
// Samplers in float32 draw none of them or too many (vllm#43150).
constexpr size_t kTail = 262'144;
constexpr float kGap = 20.5f;
constexpr uint32_t kDraws = 10'000'000;

// Returns the difference of the tail's hits from their mean in standard deviations.
double TailZ(uint64_t hits) {
  const double tail = kTail * std::exp(-double{kGap});
  const double expected = kDraws * (tail / (1 + tail));
  return (static_cast<double>(hits) - expected) / std::sqrt(expected);
}

class TailRaceTest : public ::testing::TestWithParam<std::string> {};

TEST_P(TailRaceTest, TheTailIsDrawnAsOftenAsItShould) {
  const std::unique_ptr<Sampler> sampler =
      GetParam() == "cpu" ? *CreateCpuSampler({.threads = 2}) : CreateReferenceSampler();
  std::vector<float> logits(kTail + 1, -kGap);
  logits[0] = 0;
  const SamplingParams params = {.num_samples = kDraws, .replacement = true};
  const RowResult result = SampleRow(LogitRow(logits, params, {.seed = 43150}), sampler.get());
  const auto hits = std::count_if(result.token_ids.begin(), result.token_ids.end(),
                                  [](uint32_t id) { return id != 0; });
  EXPECT_LT(std::abs(TailZ(static_cast<uint64_t>(hits))), kCriticalZ) << hits;
}

INSTANTIATE_TEST_SUITE_P(Samplers, TailRaceTest, ::testing::Values("reference", "cpu"),
                         [](const auto& tested) { return tested.param; });

TEST(TailRaceTwinTest, AFloat32CumulativeSumIsRejected) {
  // A float32 inverse-CDF sampler can represent only this of the tail: its running sum in float32.
  float running = 1.0f;
  const float weight = std::exp(-kGap);
  for (size_t i = 0; i < kTail; ++i) running += weight;
  const double tail = (double{running} - 1.0) / double{running};
  EXPECT_GT(std::abs(TailZ(static_cast<uint64_t>(kDraws * tail))), kCriticalZ);
}

// Compares the exact probabilities of all tokens, w / S, with softmax in long double. The stated
// bound is a total variation below 1e-7 at a vocabulary of 2^18.
TEST(TotalVariationTest, IntegerWeightsMatchLongDoubleSoftmax) {
  constexpr size_t kVocab = 1 << 18;
  const auto total_variation = [](const std::vector<float>& logits, double temperature) {
    const float largest = *std::max_element(logits.begin(), logits.end());
    const WeightScale scale = MakeWeightScale(temperature, FractionBits(kVocab));
    std::vector<uint64_t> weights;
    std::vector<long double> exact;
    for (const float x : logits) {
      weights.push_back(LogitWeight(x - largest, scale));
      exact.push_back(std::exp((static_cast<long double>(x) - static_cast<long double>(largest)) /
                               static_cast<long double>(temperature)));
    }
    const auto total =
        static_cast<long double>(std::accumulate(weights.begin(), weights.end(), uint64_t{0}));
    const long double exact_total = std::accumulate(exact.begin(), exact.end(), 0.0L);
    long double difference = 0;
    for (size_t i = 0; i < kVocab; ++i) {
      difference += std::abs(static_cast<long double>(weights[i]) / total - exact[i] / exact_total);
    }
    return static_cast<double>(difference / 2);
  };
  const auto normal = [](float mean, float deviation) {
    std::vector<float> logits;
    for (uint32_t i = 0; i < kVocab; ++i) {
      const PhiloxBlock block = Philox4x32({{i, 0, 0, 0}}, 18, 0);
      const double u = (block.word[0] + 0.5) * 0x1p-32;
      const double angle = block.word[1] * 0x1p-32 * 6.283185307179586;
      logits.push_back(
          mean + deviation * static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(angle)));
    }
    return logits;
  };
  std::vector<float> zipf;
  for (size_t i = 0; i < kVocab; ++i) zipf.push_back(-1.1f * std::log(static_cast<float>(i + 1)));
  std::vector<float> peaked = normal(0, 1);
  peaked[kVocab / 2] = 20;
  std::vector<float> tail(kVocab, -20.5f);
  tail[0] = 0;

  for (const double temperature : {0.7, 1.0, 1.5}) {
    EXPECT_LT(total_variation(normal(0, 1), temperature), 1e-7);
    EXPECT_LT(total_variation(normal(0, 3), temperature), 1e-7);
    EXPECT_LT(total_variation(normal(20, 5), temperature), 1e-7);
    EXPECT_LT(total_variation(zipf, temperature), 1e-7);
    EXPECT_LT(total_variation(peaked, temperature), 1e-7);
    EXPECT_LT(total_variation(tail, temperature), 1e-7);
    EXPECT_LT(total_variation(std::vector<float>(kVocab, 3.0f), temperature), 1e-7);
  }
}

}  // namespace
}  // namespace token_sampler
