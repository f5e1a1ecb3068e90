// Tests properties of every temperature on any row: schedules and dynamic temperature stay within
// their bounds, a greedy threshold depends on the largest probability, and adaptive-p follows its
// formula. Expected values are computed in double from the logits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "tests/testing/sample_row.h"
#include "tests/testing/tied_row.h"

namespace token_sampler {
namespace {

using testing::KeptProbabilities;
using testing::LogitRow;
using testing::SampleRow;
using testing::TiedRow;

constexpr uint32_t kVariants = 40;

// Returns the probabilities of the tokens; 0 for masked ones.
std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> probabilities;
  double sum = 0;
  for (const float logit : logits) {
    probabilities.push_back(std::exp((double{logit} - largest) / temperature));
    sum += probabilities.back();
  }
  for (double& probability : probabilities) probability /= sum;
  return probabilities;
}

// The temperature at which a row without filters was drawn, computed from its likeliest and least
// likely tokens.
struct Measured {
  double temperature;
  double tolerance;  // the effect of rounding log-probabilities to float32
};

Measured TemperatureOf(const std::vector<float>& logits, const SamplingParams& params,
                       RowKey key = {}) {
  OutputOptions outputs = {.top_logprobs = static_cast<uint32_t>(logits.size()),
                           .logprob_mode = LogprobMode::kProcessed};
  RowInput row = LogitRow(logits, params, key);
  row.outputs = &outputs;
  const RowResult result = SampleRow(row);
  EXPECT_EQ(result.code, RowCode::kOk) << result.message;
  if (result.top_token_ids.size() == 1) return {0, 0};  // greedy
  const double first = result.top_logprobs.front();
  const double last = result.top_logprobs.back();
  const double range =
      double{logits[result.top_token_ids.front()]} - double{logits[result.top_token_ids.back()]};
  const double temperature = range / (first - last);
  const double error = 0x1p-24 * (std::abs(first) + std::abs(last)) / (first - last);
  return {temperature, temperature * (error + 1e-9)};
}

TEST(TemperatureTest, IsMeasuredAsItWasSet) {
  for (uint32_t variant = 0; variant < kVariants; ++variant) {
    for (const double temperature : {.3, 1.0, 2.5}) {
      const Measured measured = TemperatureOf(TiedRow(variant), {.temperature = temperature});
      ASSERT_NEAR(measured.temperature, temperature, measured.tolerance) << variant;
    }
  }
}

TEST(DynamicTemperatureTest, FollowsTheEntropyWithinItsRange) {
  for (uint32_t variant = 0; variant < kVariants; ++variant) {
    const std::vector<float> logits = TiedRow(variant);
    double entropy = 0;
    double drawable = 0;
    for (const double p : Softmax(logits, 1)) {
      if (p > 0) entropy -= p * std::log(p);
      drawable += p > 0 ? 1 : 0;
    }
    for (const double temperature : {.7, 1.0, 1.5}) {
      for (const double range : {0.0, .4, 2.0}) {
        double before = temperature + range;
        for (const double exponent : {0.0, .5, 1.0, 3.0}) {
          SCOPED_TRACE(::testing::Message() << "row " << variant << ", temperature " << temperature
                                            << ", range " << range << ", exponent " << exponent);
          const Measured measured =
              TemperatureOf(logits, {.temperature = temperature,
                                     .dynamic_temperature = DynamicTemperature{range, exponent}});
          const double low = std::max(temperature - range, 0.0);
          const double high = temperature + range;
          const double expected =
              low + (high - low) * std::pow(entropy / std::log(drawable), exponent);
          // The error of the entropy of integer weights is a few 1e-7.
          ASSERT_NEAR(measured.temperature, expected, measured.tolerance + 2e-6 * high);
          ASSERT_GE(measured.temperature, low - measured.tolerance);
          // A larger exponent lowers the temperature further from the upper end.
          ASSERT_LE(measured.temperature, before + measured.tolerance);
          before = measured.temperature + measured.tolerance;
        }
      }
    }
  }
}

TEST(TemperatureScheduleTest, MovesOneWayBetweenItsEnds) {
  using Kind = TemperatureSchedule::Kind;
  const std::vector<float> logits = TiedRow(0);
  for (const Kind kind : {Kind::kLinear, Kind::kExponential}) {
    for (const auto& [begin, end] : {std::pair{.25, 2.0}, {2.0, .25}, {1.0, 1.0}}) {
      for (const uint32_t num_steps : {1u, 7u, 100u}) {
        const SamplingParams params = {.temperature_schedule =
                                           TemperatureSchedule{kind, begin, end, num_steps}};
        double before = begin;
        for (uint64_t step = 0; step <= num_steps + 3; ++step) {
          SCOPED_TRACE(::testing::Message() << "from " << begin << " to " << end << " in "
                                            << num_steps << ", step " << step);
          const Measured measured = TemperatureOf(logits, params, {.step = step});
          const double tolerance = measured.tolerance;
          ASSERT_GE(measured.temperature, std::min(begin, end) - tolerance);
          ASSERT_LE(measured.temperature, std::max(begin, end) + tolerance);
          const double moved = measured.temperature - before;
          ASSERT_GE(begin < end ? moved : -moved, -2 * tolerance);
          if (step == 0) {
            ASSERT_NEAR(measured.temperature, begin, tolerance);
          }
          if (step >= num_steps) {
            ASSERT_NEAR(measured.temperature, end, tolerance);
          }
          before = measured.temperature;
        }
      }
    }
  }
}

TEST(GreedyThresholdTest, ComparesTheLargestProbabilityBehindTheTemperature) {
  for (uint32_t variant = 0; variant < kVariants; ++variant) {
    const std::vector<float> logits = TiedRow(variant);
    for (const double temperature : {.5, 1.0, 2.0}) {
      const std::vector<double> probabilities = Softmax(logits, temperature);
      const double largest = *std::max_element(probabilities.begin(), probabilities.end());
      const auto greedy_at = [&](double threshold) {
        const SamplingParams params = {.temperature = temperature, .greedy_threshold = threshold};
        const OutputOptions outputs = {.weights = true};
        RowInput row = LogitRow(logits, params, {.seed = variant});
        row.outputs = &outputs;
        return SampleRow(row);
      };
      // Weights are exact to 2^-23.8.
      const RowResult sure = greedy_at(largest * (1 - 1e-6));
      ASSERT_TRUE(sure.greedy) << variant << " " << temperature;
      ASSERT_EQ(sure.token_ids[0], std::max_element(logits.begin(), logits.end()) - logits.begin());
      if (largest > 1 - 2e-6) continue;
      ASSERT_FALSE(greedy_at(largest * (1 + 1e-6)).greedy) << variant << " " << temperature;
    }
  }
}

TEST(AdaptivePTest, FollowsItsFormulaThroughTheSteps) {
  constexpr double kTarget = .4;
  constexpr double kDecay = .8;
  const SamplingParams params = {.adaptive_p = AdaptiveP{.target = kTarget, .decay = kDecay}};
  for (uint32_t variant = 0; variant < kVariants; ++variant) {
    double sum = kTarget / (1 - kDecay);
    double weight = 1 / (1 - kDecay);
    RowState state;
    for (uint64_t step = 0; step < 30; ++step) {
      SCOPED_TRACE(::testing::Message() << "row " << variant << ", step " << step);
      const std::vector<float> logits = TiedRow(variant + static_cast<uint32_t>(step));
      RowInput row = LogitRow(logits, params, {.seed = variant, .step = step});
      row.state = &state;
      const std::vector<double> before = Softmax(logits, 1);
      const double target = std::clamp(2 * kTarget - sum / weight, 0.0, 1.0);
      std::vector<float> moved;
      for (size_t id = 0; id < logits.size(); ++id) {
        const double distance = std::abs(before[id] - target) / .3;
        moved.push_back(before[id] > 0
                            ? static_cast<float>(5 - 10 * distance * distance / (1 + distance))
                            : -INFINITY);
      }
      const std::vector<double> expected = Softmax(moved, 1);
      for (const auto& [id, probability] : KeptProbabilities(row)) {
        // The probabilities before adaptive-p are exact to 1e-7, and the slope of the formula is
        // below 34.
        ASSERT_NEAR(probability, expected[id], 1e-5) << id;
      }
      const RowResult result = SampleRow(row);
      sum = before[result.token_ids[0]] + kDecay * sum;
      weight = 1 + kDecay * weight;
      ASSERT_NEAR(*result.state.adaptive_p_sum, sum, 1e-5);
      // The weight starts at its limit and stays there.
      ASSERT_NEAR(*result.state.adaptive_p_weight, 1 / (1 - kDecay), 1e-9);
      ASSERT_LE(*result.state.adaptive_p_sum, *result.state.adaptive_p_weight);
      state = result.state;
    }
  }
}

}  // namespace
}  // namespace token_sampler
