// Tests properties of every filter on any row: it keeps enough tokens, only survivors, likelier
// ones first, more if it is asked for more, and the same ones at any level of the logits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "sampler/params/stage_table.h"
#include "tests/testing/every_stage.h"
#include "tests/testing/sample_row.h"
#include "tests/testing/tied_row.h"

namespace token_sampler {
namespace testing {

void PrintTo(const StageSetting& setting, std::ostream* os) { *os << setting.name; }

}  // namespace testing
namespace {

using testing::LogitRow;
using testing::SampleRow;
using testing::StageSetting;
using testing::TiedRow;

std::vector<StageSetting> Filters() {
  std::vector<StageSetting> filters = testing::EveryStage();
  std::erase_if(filters, [](const StageSetting& setting) { return !setting.is_filter; });
  return filters;
}

RowResult Sample(const std::vector<float>& logits, const SamplingParams& params) {
  const OutputOptions outputs = {.kept_set = true};
  RowInput row = LogitRow(logits, params, {.seed = 5, .step = 1});
  row.outputs = &outputs;
  return SampleRow(row);
}

std::set<uint32_t> Kept(const std::vector<float>& logits, const SamplingParams& params) {
  const RowResult result = Sample(logits, params);
  EXPECT_EQ(result.code, RowCode::kOk) << result.message;
  return {result.kept_token_ids.begin(), result.kept_token_ids.end()};
}

class FilterPropertyTest : public ::testing::TestWithParam<StageSetting> {
 protected:
  // Calls body(logits, params) for rows of all kinds, with every strength.
  void ForAll(const std::function<void(const std::vector<float>&, SamplingParams&)>& body) {
    for (uint32_t variant = 0; variant < 40; ++variant) {
      const std::vector<float> logits = TiedRow(variant);
      for (const double strength : GetParam().strengths) {
        SCOPED_TRACE(::testing::Message() << "row " << variant << ", strength " << strength);
        SamplingParams params;
        GetParam().set(strength, params);
        body(logits, params);
        if (HasFatalFailure()) return;
      }
    }
  }
};

TEST_P(FilterPropertyTest, DrawsAmongTheKeptWhoseProbabilitiesAddUpToOne) {
  ForAll([](const std::vector<float>& logits, SamplingParams& params) {
    const RowResult result = Sample(logits, params);
    ASSERT_EQ(result.code, RowCode::kOk) << result.message;
    ASSERT_TRUE(std::binary_search(result.kept_token_ids.begin(), result.kept_token_ids.end(),
                                   result.token_ids[0]));
    double sum = 0;
    for (const float logprob : result.kept_logprobs) sum += std::exp(double{logprob});
    ASSERT_NEAR(sum, 1, 1e-5);
  });
}

TEST_P(FilterPropertyTest, KeepsAtLeastWhatIsAsked) {
  ForAll([](const std::vector<float>& logits, SamplingParams& params) {
    const auto drawable = static_cast<size_t>(std::count_if(
        logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); }));
    for (const uint32_t least : {1u, 4u, 100u}) {
      params.min_tokens_to_keep = least;
      ASSERT_GE(Kept(logits, params).size(), std::min<size_t>(least, drawable));
    }
  });
}

// Typical sampling and XTC remove likely tokens on purpose.
class PrefixFilterPropertyTest : public FilterPropertyTest {};

TEST_P(PrefixFilterPropertyTest, KeepsTheLikeliestWithoutAGap) {
  ForAll([](const std::vector<float>& logits, SamplingParams& params) {
    const std::set<uint32_t> kept = Kept(logits, params);
    float smallest_kept = std::numeric_limits<float>::infinity();
    for (const uint32_t id : kept) smallest_kept = std::min(smallest_kept, logits[id]);
    for (uint32_t id = 0; id < logits.size(); ++id) {
      ASSERT_TRUE(kept.contains(id) || logits[id] <= smallest_kept) << id;
    }
  });
}

TEST_P(FilterPropertyTest, KeepsMoreWhenItIsWeaker) {
  for (uint32_t variant = 0; variant < 40; ++variant) {
    const std::vector<float> logits = TiedRow(variant);
    std::set<uint32_t> before;
    for (const double strength : GetParam().strengths) {
      SamplingParams params;
      GetParam().set(strength, params);
      const std::set<uint32_t> kept = Kept(logits, params);
      ASSERT_TRUE(std::includes(kept.begin(), kept.end(), before.begin(), before.end()))
          << "row " << variant << ", strength " << strength;
      before = kept;
    }
  }
}

TEST_P(FilterPropertyTest, DoesNotDependOnTheLevelOfTheLogits) {
  ForAll([](const std::vector<float>& logits, SamplingParams& params) {
    std::vector<float> moved;
    for (const float logit : logits) moved.push_back(logit + 1000);
    const RowResult here = Sample(logits, params);
    const RowResult there = Sample(moved, params);
    ASSERT_EQ(there.kept_token_ids, here.kept_token_ids);
    ASSERT_EQ(there.token_ids, here.token_ids);
    ASSERT_EQ(there.kept_logprobs, here.kept_logprobs);
  });
}

TEST_P(FilterPropertyTest, AloneItDoesNotDependOnTheOrderOfTheStages) {
  ForAll([](const std::vector<float>& logits, SamplingParams& params) {
    const std::set<uint32_t> kept = Kept(logits, params);
    for (const StageOrder& order : {kHfOrder, kLlamaCppOrder}) {
      SamplingParams reordered = params;
      reordered.stage_order = order;
      ASSERT_EQ(Kept(logits, reordered), kept);
    }
  });
}

std::vector<StageSetting> PrefixFilters() {
  std::vector<StageSetting> filters = Filters();
  std::erase_if(filters, [](const StageSetting& filter) { return InfoOf(filter.stage).remakes; });
  return filters;
}

std::string FilterName(const ::testing::TestParamInfo<StageSetting>& tested) {
  return tested.param.name;
}

INSTANTIATE_TEST_SUITE_P(All, FilterPropertyTest, ::testing::ValuesIn(Filters()), FilterName);
INSTANTIATE_TEST_SUITE_P(All, PrefixFilterPropertyTest, ::testing::ValuesIn(PrefixFilters()),
                         FilterName);

// Top-k and top-p each keep a prefix; the joint stage keeps the shorter one.
TEST(JointStageTest, KeepsWhatBothKeep) {
  for (uint32_t variant = 0; variant < 40; ++variant) {
    const std::vector<float> logits = TiedRow(variant);
    for (const uint32_t top_k : {1u, 7u, 40u}) {
      for (const double top_p : {.2, .7, .95}) {
        const std::set<uint32_t> by_top_k = Kept(logits, {.top_k = top_k});
        const std::set<uint32_t> by_top_p = Kept(logits, {.top_p = top_p});
        const std::set<uint32_t> joint =
            Kept(logits, {.top_k = top_k, .top_p = top_p, .stage_order = kSglangOrder});
        ASSERT_EQ(joint, by_top_k.size() < by_top_p.size() ? by_top_k : by_top_p)
            << "row " << variant << ", top_k " << top_k << ", top_p " << top_p;
      }
    }
  }
}

}  // namespace
}  // namespace token_sampler
