// Tests that every sampler gives the tokens of the golden file.

#include <gtest/gtest.h>

#include <map>

#include "sampler/params/stage_table.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/golden/golden_file.h"
#include "tests/testing/sanitizers.h"

namespace token_sampler::testing {
namespace {

constexpr char kPath[] = TOKEN_SAMPLER_TEST_DATA "/../golden/golden.txt";

TEST(GoldenTest, ReferenceSamplerGivesEveryToken) {
  const std::vector<GoldenCase> every = ReadGoldenFile(kPath);
  ASSERT_GE(every.size(), 8000u);
  std::vector<GoldenCase> cases;
  for (size_t i = 0; i < every.size(); i += kSanitized ? 8 : 1) cases.push_back(every[i]);
  const std::unique_ptr<Sampler> sampler = CreateReferenceSampler();
  const auto tokens = SampleGoldenCases(cases, *sampler);
  for (size_t i = 0; i < cases.size(); ++i) {
    ASSERT_FALSE(cases[i].token_ids.empty());
    EXPECT_EQ(tokens[i], cases[i].token_ids) << FormatGoldenCase(cases[i]);
  }
}

TEST(GoldenTest, EveryStageHasLines) {
  std::map<Stage, int> lines;
  for (const GoldenCase& golden : ReadGoldenFile(kPath)) {
    for (const Stage stage : golden.params.stage_order) {
      if (StageIsOn(golden.params, stage)) ++lines[stage];
    }
  }
  for (const StageInfo& info : kStages) EXPECT_GE(lines[info.stage], 24) << info.name;
}

TEST(GoldenTest, FormatAndParseAreInverse) {
  for (const GoldenCase& golden : ReadGoldenFile(kPath)) {
    const std::string line = FormatGoldenCase(golden);
    ASSERT_EQ(FormatGoldenCase(ParseGoldenCase(line)), line);
  }
}

}  // namespace
}  // namespace token_sampler::testing
