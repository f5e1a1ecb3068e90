// Tests the outputs besides tokens, for any row and any filters, against probabilities of the kept
// tokens computed in double; and Describe, which must report the same sets.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <ostream>
#include <string>
#include <vector>

#include "sampler/describe.h"
#include "sampler/params/stage_table.h"
#include "tests/testing/sample_row.h"
#include "tests/testing/tied_row.h"

namespace token_sampler {
namespace {

using testing::LogitRow;
using testing::SampleRow;
using testing::TiedRow;
using testing::WeightRow;
using Ids = std::vector<uint32_t>;

constexpr uint32_t kVariants = 40;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  std::string name;
  SamplingParams params;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

// Returns each token's probability; 0 for tokens that are not in `ids`.
std::vector<double> Probabilities(const RowInput& row, const Ids& ids, double temperature) {
  const auto* values = static_cast<const float*>(row.values);
  double largest = -kInfinity;
  for (const uint32_t id : ids) largest = std::max(largest, double{values[id]});
  std::vector<double> probabilities(static_cast<size_t>(row.vocab));
  double sum = 0;
  for (const uint32_t id : ids) {
    probabilities[id] = row.kind == InputKind::kWeights
                            ? double{values[id]}
                            : std::exp((double{values[id]} - largest) / temperature);
    sum += probabilities[id];
  }
  for (double& probability : probabilities) probability /= sum;
  return probabilities;
}

// Returns the probability of the row's likeliest token, kept or not, relative to which the others
// were weighed.
double FullWeight(const RowInput& row, uint32_t kept_id, double kept_probability,
                  double temperature) {
  const auto* values = static_cast<const float*>(row.values);
  const double largest = *std::max_element(values, values + row.vocab);
  const double kept = values[kept_id];
  return kept_probability * (row.kind == InputKind::kWeights
                                 ? largest / kept
                                 : std::exp((largest - kept) / temperature));
}

// Returns the tolerance of logarithms of sums of weights, which are exact to 2^-23.8, rounded to
// float32. The logarithm of a plain weight is that of an integer of at least 2^43 times its share
// of the row's largest, `full`.
double LogTolerance(InputKind kind, double probability, double full) {
  const double of_weight = kind == InputKind::kWeights ? 0x1p-44 * full / probability : 0.0;
  return 2e-7 + 0x1p-23 * std::abs(std::log(probability)) + of_weight;
}

// Compares a result with all outputs with the distribution over `ids`.
void ExpectOutputs(const RowInput& row, const RowResult& result, const Ids& ids,
                   double temperature) {
  const auto* values = static_cast<const float*>(row.values);
  const std::vector<double> probabilities = Probabilities(row, ids, temperature);
  const double full = FullWeight(row, ids[0], probabilities[ids[0]], temperature);
  const auto expect_log = [&](float logprob, uint32_t id) {
    const double probability = probabilities[id];
    ASSERT_NEAR(logprob, std::log(probability), LogTolerance(row.kind, probability, full)) << id;
  };

  Ids likeliest = ids;
  std::stable_sort(likeliest.begin(), likeliest.end(),
                   [&](uint32_t a, uint32_t b) { return values[a] > values[b]; });
  likeliest.resize(std::min<size_t>(likeliest.size(), row.outputs->top_logprobs));
  ASSERT_EQ(result.top_token_ids, likeliest);
  for (size_t i = 0; i < likeliest.size(); ++i) {
    expect_log(result.top_logprobs[i], likeliest[i]);
  }

  for (size_t draw = 0; draw < result.token_ids.size(); ++draw) {
    const uint32_t id = result.token_ids[draw];
    expect_log(result.logprobs[draw], id);
    const bool equals = row.outputs->rank_mode == RankMode::kGreaterEqual;
    const auto above = std::count_if(ids.begin(), ids.end(), [&](uint32_t other) {
      return equals ? values[other] >= values[id] : values[other] > values[id];
    });
    ASSERT_EQ(result.ranks[draw], above + (equals ? 0 : 1)) << id;
  }

  double entropy = 0;
  double largest = 0;
  double smallest = 1;
  for (const uint32_t id : ids) {
    const double p = probabilities[id];
    entropy -= p * std::log(p);
    largest = std::max(largest, p);
    // A token has the weight 0 if its mass is below half a unit; the largest logit's weight has
    // 2^44 units.
    if (p >= 0x1p-45 * full) smallest = std::min(smallest, p);
  }
  ASSERT_NEAR(result.entropy, entropy, 2e-6);
  ASSERT_NEAR(result.max_probability, largest, 2e-7 * largest + 0x1p-44 * full);
  ASSERT_NEAR(result.min_probability, smallest, 2e-7 * smallest + 0x1p-44 * full);
}

class OutputPropertyTest : public ::testing::TestWithParam<Case> {
 protected:
  // Calls body(row) for logits and weights of every variant. Each row has its own outputs.
  template <typename Body>
  void ForAll(const Body& body) {
    for (uint32_t variant = 0; variant < kVariants; ++variant) {
      const std::vector<float> logits = TiedRow(variant);
      std::vector<float> weights;
      for (const float logit : logits) weights.push_back(std::exp(logit / 2));
      SamplingParams params = GetParam().params;
      SCOPED_TRACE(variant);
      body(LogitRow(logits, params, {.seed = variant}));
      if (params.temperature != 1 || params.top_n_sigma > 0) continue;  // need logits
      body(WeightRow(weights, params, {.seed = variant}));
    }
  }
};

OutputOptions Everything(LogprobMode mode, RankMode rank_mode) {
  return {.logprobs = true,
          .top_logprobs = 9,
          .logprob_mode = mode,
          .ranks = true,
          .rank_mode = rank_mode,
          .kept_count = true,
          .kept_set = true,
          .extremes = true,
          .entropy = true};
}

TEST_P(OutputPropertyTest, AreThoseOfTheDistribution) {
  ForAll([](RowInput row) {
    for (const LogprobMode mode : {LogprobMode::kRaw, LogprobMode::kProcessed}) {
      for (const RankMode rank_mode : {RankMode::kGreater, RankMode::kGreaterEqual}) {
        const OutputOptions outputs = Everything(mode, rank_mode);
        row.outputs = &outputs;
        const RowResult result = SampleRow(row);
        ASSERT_EQ(result.code, RowCode::kOk) << result.message;
        const Ids& kept = result.kept_token_ids;
        ASSERT_EQ(result.kept_count, kept.size());
        ASSERT_TRUE(std::is_sorted(kept.begin(), kept.end()));
        const std::vector<double> over_kept = Probabilities(row, kept, row.params->temperature);
        const double full = FullWeight(row, kept[0], over_kept[kept[0]], row.params->temperature);
        for (size_t i = 0; i < kept.size(); ++i) {
          const double probability = over_kept[kept[i]];
          ASSERT_NEAR(result.kept_logprobs[i], std::log(probability),
                      LogTolerance(row.kind, probability, full))
              << kept[i];
        }
        if (mode == LogprobMode::kProcessed) {
          ExpectOutputs(row, result, kept, row.params->temperature);
          continue;
        }
        Ids drawable;
        for (uint32_t id = 0; id < row.vocab; ++id) {
          const float masked = row.kind == InputKind::kWeights ? 0.0f : -kInfinity;
          if (static_cast<const float*>(row.values)[id] > masked) drawable.push_back(id);
        }
        ExpectOutputs(row, result, drawable, 1);
      }
    }
  });
}

TEST_P(OutputPropertyTest, RepairingChangesNoSoundRow) {
  ForAll([](RowInput row) {
    const OutputOptions outputs = Everything(LogprobMode::kProcessed, RankMode::kGreater);
    row.outputs = &outputs;
    const RowResult expected = SampleRow(row);
    SamplingParams params = *row.params;
    row.params = &params;
    for (const InvalidValuePolicy policy :
         {InvalidValuePolicy::kSanitize, InvalidValuePolicy::kSanitizeUniform}) {
      params.invalid_values = policy;
      const RowResult repaired = SampleRow(row);
      ASSERT_EQ(repaired.code, RowCode::kOk);
      ASSERT_EQ(repaired.token_ids, expected.token_ids);
      ASSERT_EQ(repaired.kept_token_ids, expected.kept_token_ids);
      ASSERT_EQ(repaired.kept_logprobs, expected.kept_logprobs);
      ASSERT_EQ(repaired.logprobs, expected.logprobs);
      ASSERT_EQ(repaired.entropy, expected.entropy);
    }
  });
}

TEST_P(OutputPropertyTest, DescribeTellsOfTheSameDistributions) {
  ForAll([](RowInput row) {
    RowResult described;
    const std::vector<StageView> views =
        DescribeRow(row, static_cast<uint32_t>(row.vocab), described);
    ASSERT_EQ(described.code, RowCode::kOk) << described.message;
    ASSERT_GE(views.size(), 2u);
    for (size_t i = 0; i < views.size(); ++i) {
      SCOPED_TRACE(views[i].stage);
      const StageView& view = views[i];
      ASSERT_EQ(view.top_token_ids.size(), view.kept_count);
      ASSERT_NEAR(std::accumulate(view.top_probabilities.begin(), view.top_probabilities.end(), 0.),
                  1, 1e-12);
      if (i == 0) continue;
      // The removed and the kept mass add up to the view before.
      const StageView& before = views[i - 1];
      double kept = 0;
      for (size_t t = 0; t < before.top_token_ids.size(); ++t) {
        if (std::find(view.top_token_ids.begin(), view.top_token_ids.end(),
                      before.top_token_ids[t]) != view.top_token_ids.end()) {
          kept += before.top_probabilities[t];
        }
      }
      ASSERT_NEAR(kept + view.removed_mass, 1, 1e-12);
      ASSERT_LE(view.kept_count, before.kept_count);
    }

    const auto compare = [&](const StageView& view, LogprobMode mode) {
      OutputOptions outputs = Everything(mode, RankMode::kGreater);
      outputs.top_logprobs = static_cast<uint32_t>(row.vocab);
      row.outputs = &outputs;
      const RowResult result = SampleRow(row);
      ASSERT_EQ(view.top_token_ids, result.top_token_ids);
      ASSERT_EQ(view.entropy, result.entropy);
      ASSERT_EQ(view.max_probability, result.max_probability);
      ASSERT_EQ(view.min_probability, result.min_probability);
      if (mode == LogprobMode::kProcessed) {
        ASSERT_EQ(view.kept_count, result.kept_count);
      }
    };
    compare(views.front(), LogprobMode::kRaw);
    compare(views.back(), LogprobMode::kProcessed);
  });
}

INSTANTIATE_TEST_SUITE_P(
    All, OutputPropertyTest,
    ::testing::Values(Case{"plain", {}}, Case{"hot", {.temperature = 1.5, .num_samples = 5}},
                      Case{"cold_top_p",
                           {.temperature = .7, .num_samples = 3, .replacement = true, .top_p = .9}},
                      Case{"top_k", {.num_samples = 2, .top_k = 7}},
                      Case{"top_k_ties", {.top_k = 7, .top_k_ties = TiePolicy::kKeepAll}},
                      Case{"min_p_epsilon", {.min_p = .02, .epsilon_cutoff = .001}},
                      Case{"typical", {.typical_p = .8}}, Case{"top_n_sigma", {.top_n_sigma = 1.5}},
                      Case{"xtc", {.xtc_probability = .5, .xtc_threshold = .05}},
                      Case{"hf", {.top_k = 30, .top_p = .8, .min_p = .05, .stage_order = kHfOrder}},
                      Case{"llama_cpp",
                           {.temperature = 1.3,
                            .top_k = 30,
                            .top_p = .8,
                            .min_p = .05,
                            .typical_p = .9,
                            .stage_order = kLlamaCppOrder}}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace token_sampler
