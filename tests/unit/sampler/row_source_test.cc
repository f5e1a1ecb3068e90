// Tests that only rows that cannot be read fail, with every sampler. tests/conformance tests that
// rows which can be read get the tokens of rows in memory.

#include "sampler/rows/row_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/describe.h"
#include "sampler/reference/reference_sampler.h"
#include "tests/testing/memory_source.h"
#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kVocab = 100'000;  // long enough for threads to share a row

RowInput Unreadable(const testing::BrokenSource& source, const SamplingParams& params) {
  RowInput row;
  row.source = &source;
  row.source_offset = 4;
  row.vocab = kVocab;
  row.params = &params;
  return row;
}

TEST(RowSourceTest, ARowThatCannotBeReadFailsAlone) {
  const SamplingParams plain;
  const SamplingParams typical{.typical_p = 0.9};  // a stage that makes a new row of its list
  const testing::BrokenSource source(kVocab * 4 + 3);
  std::vector<float> values(kVocab);
  values[7] = 100.0f;
  for (const int threads : {1, 2, 8}) {
    const std::unique_ptr<Sampler> samplers[] = {CreateReferenceSampler(),
                                                 *CreateCpuSampler({.threads = threads})};
    for (const auto& sampler : samplers) {
      const std::vector<RowInput> rows = {Unreadable(source, plain),
                                          testing::LogitRow(values, plain, {}),
                                          Unreadable(source, typical)};
      std::vector<RowResult> results(rows.size());
      for (RowResult& result : results) result.token_ids = {1};  // from an earlier call
      ASSERT_TRUE(sampler->Sample(rows, absl::MakeSpan(results)).ok());
      for (const size_t broken : {size_t{0}, size_t{2}}) {
        EXPECT_EQ(results[broken].code, RowCode::kInvalidInput);
        EXPECT_EQ(results[broken].message, "the row's values cannot be read: the memory went away");
        EXPECT_THAT(results[broken].token_ids, IsEmpty());
      }
      EXPECT_EQ(results[1].code, RowCode::kOk);
      EXPECT_THAT(results[1].token_ids, ElementsAre(7));
    }
  }
}

TEST(RowSourceTest, ALongRowThatThreadsShareFails) {
  const SamplingParams params;
  const testing::BrokenSource source(kVocab * 3);
  const std::unique_ptr<Sampler> sampler = *CreateCpuSampler({.threads = 4});
  RowResult result;
  const RowInput row = Unreadable(source, params);
  ASSERT_TRUE(sampler->Sample({&row, 1}, {&result, 1}).ok());
  EXPECT_EQ(result.code, RowCode::kInvalidInput);
}

TEST(RowSourceTest, IsDescribed) {
  const SamplingParams params;
  const std::vector<float> values = {0.0f, 5.0f, 1.0f};
  const testing::MemorySource source(values.data(), 12);
  RowResult result;
  const auto views = DescribeRow(source.Row(testing::LogitRow(values, params, {})), 1, result);
  ASSERT_FALSE(views.empty());
  EXPECT_THAT(views[0].top_token_ids, ElementsAre(1));

  const testing::BrokenSource broken(0);
  EXPECT_THAT(DescribeRow(Unreadable(broken, params), 1, result), IsEmpty());
  EXPECT_EQ(result.code, RowCode::kInvalidInput);
  EXPECT_THAT(result.message, HasSubstr("the memory went away"));
}

}  // namespace
}  // namespace token_sampler
