// Tests the catalogue of stages against the table of stages, and its known answers against the
// samplers.

#include "tests/testing/every_stage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "tests/testing/sample_row.h"

namespace token_sampler::testing {
namespace {

TEST(EveryStageTest, HasEachStageOfTheTable) {
  std::set<Stage> stages;
  for (const StageSetting& setting : EveryStage()) stages.insert(setting.stage);
  for (const StageInfo& info : kStages) EXPECT_TRUE(stages.contains(info.stage)) << info.name;
}

TEST(EveryStageTest, EachSettingIsValidAndTurnsItsStageOn) {
  std::set<std::string> names;
  for (const StageSetting& setting : EveryStage()) {
    EXPECT_TRUE(names.insert(setting.name).second) << setting.name;
    for (const double strength : setting.strengths) {
      SCOPED_TRACE(::testing::Message() << setting.name << ", strength " << strength);
      SamplingParams params;
      setting.set(strength, params);
      EXPECT_TRUE(ValidateParams(params, InputKind::kLogits, 100, {}).ok());
      for (const Stage stage : params.stage_order) {
        EXPECT_EQ(StageIsOn(params, stage), stage == setting.stage) << StageName(stage);
      }
    }
  }
}

TEST(KnownAnswersTest, AreThoseOfBothSamplers) {
  const std::unique_ptr<Sampler> cpu = CreateCpuSampler({.threads = 1}).value();
  for (const KnownAnswer& answer : KnownAnswers()) {
    std::vector<float> logits;
    for (const float weight : answer.weights) logits.push_back(std::log(weight));
    for (Sampler* const sampler : {static_cast<Sampler*>(nullptr), cpu.get()}) {
      for (const RowInput& row :
           {LogitRow(logits, answer.params), WeightRow(answer.weights, answer.params)}) {
        SCOPED_TRACE(::testing::Message()
                     << answer.name << (row.kind == InputKind::kLogits ? ", logits" : ", weights")
                     << (sampler == nullptr ? ", reference" : ", CPU"));
        const std::map<uint32_t, double> kept = KeptProbabilities(row, sampler);
        ASSERT_EQ(kept.size(), answer.kept.size());
        for (const auto& [id, probability] : answer.kept) {
          ASSERT_TRUE(kept.contains(id)) << "token " << id;
          EXPECT_NEAR(kept.at(id), probability, 1e-5) << "token " << id;
        }
      }
    }
  }
}

}  // namespace
}  // namespace token_sampler::testing
