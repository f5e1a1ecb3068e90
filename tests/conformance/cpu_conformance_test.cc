// Compares the CPU sampler, at every SIMD target of this machine and with 1 to 8 threads, with the
// reference.

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/conformance/conformance.h"
#include "tests/conformance/random_batch.h"
#include "tests/conformance/row_difference.h"
#include "tests/conformance/tiny_rows.h"
#include "tests/golden/golden_file.h"
#include "tests/testing/sanitizers.h"

namespace token_sampler {

// Without these functions a test's name would have the bytes of its options.
void PrintTo(const CpuSamplerOptions& options, std::ostream* os) {
  *os << options.target << " with " << options.threads << " threads";
}
void PrintTo(const SamplingParams& params, std::ostream* os) {
  *os << params.num_samples << " draws, top_k " << params.top_k << ", top_p " << params.top_p;
}

namespace testing {
namespace {

// More threads than rows, and fewer.
std::vector<int> ThreadCounts() {
  return kSanitized ? std::vector<int>{2, 8} : std::vector<int>{1, 2, 4, 8};
}

constexpr size_t kGoldenStride = kSanitized ? 8 : 1;

class CpuConformanceTest : public ::testing::TestWithParam<CpuSamplerOptions> {
 protected:
  CpuConformanceTest() : sampler_(CreateCpuSampler(GetParam()).value()) {}

  std::unique_ptr<Sampler> sampler_;
};

std::vector<CpuSamplerOptions> EveryOption() {
  std::vector<CpuSamplerOptions> every;
  for (const std::string& target : CpuSamplerTargets()) {
    for (const int threads : ThreadCounts()) every.push_back({threads, target});
  }
  return every;
}

TEST_P(CpuConformanceTest, ShortRows) {
  for (int i = 0; i < RandomCases(60); ++i) {
    SCOPED_TRACE(i);
    ExpectSameAsReference(MakeRandomBatch(1000 + static_cast<uint64_t>(i), 20, 300), *sampler_);
    if (HasFatalFailure()) return;
  }
}

TEST_P(CpuConformanceTest, TinyRows) {
  for (int i = 0; i < RandomCases(400); ++i) {
    SCOPED_TRACE(i);
    ExpectSameAsReference(MakeTinyRows(600'000 + static_cast<uint64_t>(i), 50), *sampler_);
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
  for (int i = 0; i < RandomCases(12); ++i) {
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

// Any number of threads share rows, or as many slices of a long row.
TEST(CpuThreadsTest, AnyNumberGivesTheSame) {
  for (const int threads : {3, 5, 6, 7}) {
    SCOPED_TRACE(threads);
    const std::unique_ptr<Sampler> sampler = CreateCpuSampler({.threads = threads}).value();
    for (uint64_t i = 0; i < 3; ++i) {
      ExpectSameAsReference(MakeRandomBatch(300'000 + i, 17, 5000), *sampler);
      ExpectSameAsReference(MakeRandomRow(400'000 + i, 128'256), *sampler);
      if (HasFatalFailure()) return;
    }
  }
}

// The longest possible row, with weights from 0 to 15.
class CpuLongestRowTest : public ::testing::TestWithParam<SamplingParams> {};

TEST_P(CpuLongestRowTest, GivesWhatTheReferenceGives) {
  std::vector<uint16_t> bits(static_cast<size_t>(kMaxVocab));
  for (uint32_t id = 0; id < bits.size(); ++id) {
    constexpr uint16_t kSmallIntegers[] = {0,      0x3c00, 0x4000, 0x4200, 0x4400, 0x4500,
                                           0x4600, 0x4700, 0x4800, 0x4880, 0x4900, 0x4980,
                                           0x4a00, 0x4a80, 0x4b00, 0x4b80};
    bits[id] = kSmallIntegers[(id * 2654435761u) >> 28];
  }
  RowInput row;
  row.values = bits.data();
  row.dtype = DataType::kFloat16;
  row.kind = InputKind::kWeights;
  row.vocab = kMaxVocab;
  row.params = &GetParam();
  row.key = {.seed = 11};
  RowResult expected;
  ASSERT_TRUE(CreateReferenceSampler()->Sample({&row, 1}, {&expected, 1}).ok());
  ASSERT_EQ(expected.token_ids.size(), GetParam().num_samples);
  for (const std::string& target : CpuSamplerTargets()) {
    RowResult actual;
    ASSERT_TRUE(CreateCpuSampler({2, target}).value()->Sample({&row, 1}, {&actual, 1}).ok());
    EXPECT_EQ(RowDifference(actual, expected), "") << target;
  }
}

std::vector<SamplingParams> LongestRowParams() {
  std::vector<SamplingParams> params = {
      {.num_samples = 3, .top_p = 0.7},
      {.num_samples = 5, .banned_ids = {kMaxVocab - 1, 0, 7}},
      {.top_k = 1'500'000, .min_p = 0.9},
  };
  if (kSanitized) params.resize(1);
  return params;
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuLongestRowTest, ::testing::ValuesIn(LongestRowParams()),
                         [](const auto& tested) {
                           return "params_" + std::to_string(tested.index);
                         });

TEST(CpuGoldenTest, GivesEveryTokenOfTheGoldenFile) {
  const std::vector<GoldenCase> every =
      ReadGoldenFile(TOKEN_SAMPLER_TEST_DATA "/../golden/golden.txt");
  ASSERT_GE(every.size(), 8000u);
  std::vector<GoldenCase> cases;
  for (size_t i = 0; i < every.size(); i += kGoldenStride) cases.push_back(every[i]);
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
