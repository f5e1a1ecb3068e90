// Every sampler must give the tokens of the golden file.

#include <gtest/gtest.h>

#include "sampler/reference_sampler.h"
#include "tests/golden/golden_file.h"

namespace token_sampler::testing {
namespace {

constexpr char kPath[] = TOKEN_SAMPLER_TEST_DATA "/../golden/golden.txt";

TEST(GoldenTest, ReferenceSamplerGivesEveryToken) {
  const std::vector<GoldenCase> cases = ReadGoldenFile(kPath);
  ASSERT_GE(cases.size(), 8000u);
  const std::unique_ptr<Sampler> sampler = CreateReferenceSampler();
  const auto tokens = SampleGoldenCases(cases, *sampler);
  for (size_t i = 0; i < cases.size(); ++i) {
    ASSERT_FALSE(cases[i].token_ids.empty());
    EXPECT_EQ(tokens[i], cases[i].token_ids) << FormatGoldenCase(cases[i]);
  }
}

TEST(GoldenTest, FormatAndParseAreInverse) {
  for (const GoldenCase& golden : ReadGoldenFile(kPath)) {
    const std::string line = FormatGoldenCase(golden);
    ASSERT_EQ(FormatGoldenCase(ParseGoldenCase(line)), line);
  }
}

}  // namespace
}  // namespace token_sampler::testing
