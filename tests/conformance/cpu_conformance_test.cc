// The CPU sampler, at every SIMD target of this machine and 1 to 8 threads, against the reference.

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "sampler/cpu_sampler.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/random_batch.h"
#include "tests/golden/golden_file.h"

namespace token_sampler {

// Without it a test's name would hold the bytes of its options.
void PrintTo(const CpuSamplerOptions& options, std::ostream* os) {
  *os << options.target << " with " << options.threads << " threads";
}

namespace testing {
namespace {

class CpuConformanceTest : public ::testing::TestWithParam<CpuSamplerOptions> {
 protected:
  CpuConformanceTest() : sampler_(CreateCpuSampler(GetParam()).value()) {}

  std::unique_ptr<Sampler> sampler_;
};

std::vector<CpuSamplerOptions> EveryOption() {
  std::vector<CpuSamplerOptions> every;
  for (const std::string& target : CpuSamplerTargets()) {
    for (const int threads : {1, 2, 4, 8}) every.push_back({threads, target});
  }
  return every;
}

TEST_P(CpuConformanceTest, ShortRows) {
  for (int i = 0; i < 60 * ConformanceScale(); ++i) {
    SCOPED_TRACE(i);
    ExpectSameAsReference(MakeRandomBatch(1000 + static_cast<uint64_t>(i), 20, 300), *sampler_);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CpuConformanceTest, RowsAroundTheLengthsOfVectorsAndBlocks) {
  uint64_t seed = 50'000;
  for (int i = 0; i < ConformanceScale(); ++i) {
    for (const int64_t unit : {64, 128, 256, 1024, 4096}) {
      for (int64_t vocab = unit - 2; vocab <= unit + 2; ++vocab) {
        SCOPED_TRACE(++seed);
        ExpectSameAsReference(MakeRandomRow(seed, vocab), *sampler_);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(CpuConformanceTest, RowsOfAllLengths) {
  for (int i = 0; i < 12 * ConformanceScale(); ++i) {
    SCOPED_TRACE(i);
    ExpectSameAsReference(MakeRandomBatch(100'000 + static_cast<uint64_t>(i), 8, 20'000),
                          *sampler_);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CpuConformanceTest, LongRows) {
  uint64_t seed = 200'000;
  for (int i = 0; i < ConformanceScale(); ++i) {
    for (const int64_t vocab : {32'000, 50'257, 128'256, 128'256, 151'936, 262'144, 524'288}) {
      SCOPED_TRACE(++seed);
      ExpectSameAsReference(MakeRandomRow(seed, vocab), *sampler_);
      if (HasFatalFailure()) return;
    }
  }
}

std::string OptionName(const ::testing::TestParamInfo<CpuSamplerOptions>& option) {
  return option.param.target + "_" + std::to_string(option.param.threads) + "_threads";
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuConformanceTest, ::testing::ValuesIn(EveryOption()), OptionName);

TEST(CpuGoldenTest, GivesEveryTokenOfTheGoldenFile) {
  const std::vector<GoldenCase> cases =
      ReadGoldenFile(TOKEN_SAMPLER_TEST_DATA "/../golden/golden.txt");
  ASSERT_GE(cases.size(), 8000u);
  for (const std::string& target : CpuSamplerTargets()) {
    const std::unique_ptr<Sampler> sampler = CreateCpuSampler({2, target}).value();
    const auto tokens = SampleGoldenCases(cases, *sampler);
    for (size_t i = 0; i < cases.size(); ++i) {
      ASSERT_EQ(tokens[i], cases[i].token_ids) << target << ": " << FormatGoldenCase(cases[i]);
    }
  }
}

}  // namespace
}  // namespace testing
}  // namespace token_sampler
