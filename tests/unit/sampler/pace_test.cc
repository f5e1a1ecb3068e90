// Tests that a row whose pace goes on is sampled as without a pace, and one whose pace stops fails
// at once.

#include "sampler/rows/pace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/describe.h"
#include "sampler/reference/reference_sampler.h"
#include "sampler/rows/large_memory.h"
#include "sampler/verify_draft.h"
#include "tests/conformance/row_difference.h"
#include "tests/testing/counting_pace.h"
#include "tests/testing/long_rows.h"

namespace token_sampler {
namespace {

using testing::CountingPace;
using ::testing::ElementsAreArray;
using ::testing::Ge;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Long enough that every pass over tokens, draws or history has several pieces.
constexpr size_t kVocab = 300'000;
constexpr uint32_t kMany = 100'000;
constexpr size_t kHistory = 200'000;

RowResult Sample(Sampler& sampler, const RowInput& row) {
  EXPECT_TRUE(ValidateParams(*row.params, row.kind, row.vocab, {}).ok());
  RowResult result;
  EXPECT_TRUE(sampler.Sample({&row, 1}, {&result, 1}).ok());
  return result;
}

// Rows without a history, the plain one first.
std::vector<testing::LongRow> SomeRows() {
  std::vector<testing::LongRow> rows;
  testing::ForEachLongRow(kVocab, kMany, 0, [&rows](testing::LongRow& row) {
    if (rows.size() < 3) rows.push_back(std::move(row));
  });
  return rows;
}

class PaceTest : public ::testing::TestWithParam<int> {
 protected:
  PaceTest() : sampler_(*CreateCpuSampler({.threads = GetParam()})) {}

  std::unique_ptr<Sampler> sampler_;
};

TEST_P(PaceTest, IsAskedAndChangesNothing) {
  testing::ForEachLongRow(kVocab, kMany, kHistory, [&](testing::LongRow& row) {
    SCOPED_TRACE(row.name);
    const RowResult expected = Sample(*sampler_, row.Input(nullptr));
    CountingPace pace;
    const RowResult actual = Sample(*sampler_, row.Input(&pace));
    EXPECT_THAT(pace.asked(), Gt(2));
    EXPECT_EQ(testing::RowDifference(actual, expected), "");
  });
}

// Access to tokens in no order takes longer, because each access waits for memory.
TEST_P(PaceTest, IsAskedMoreOftenWhereTokensLieInNoOrder) {
  // The number of passes over the listed tokens, the drawn ones or the history, besides those over
  // the row.
  const std::map<std::string, int64_t> passes = {
      {"banned", 2}, {"penalties", 2}, {"many log-probabilities and ranks", 12}};
  constexpr int64_t kTokensPerQuestion = 4096;
  const auto questions = [this](testing::LongRow& row) {
    CountingPace pace;
    Sample(*sampler_, row.Input(&pace));
    return pace.asked();
  };
  int64_t of_plain = 0;
  size_t found = 0;
  testing::ForEachLongRow(kVocab, kMany, kMany, [&](testing::LongRow& row) {
    if (row.name == "plain") of_plain = questions(row);
    const auto wanted = passes.find(row.name);
    if (wanted == passes.end()) return;
    SCOPED_TRACE(row.name);
    ++found;
    EXPECT_THAT(questions(row) - of_plain, Ge(wanted->second * kMany / kTokensPerQuestion));
  });
  EXPECT_EQ(found, passes.size());
}

TEST_P(PaceTest, StopsAtAnyQuestion) {
  testing::ForEachLongRow(kVocab, kMany, kHistory, [&](testing::LongRow& row) {
    SCOPED_TRACE(row.name);
    Sample(*sampler_, row.Input(nullptr));  // allocates memory that later calls reuse
    CountingPace all;
    Sample(*sampler_, row.Input(&all));
    for (const int64_t go_on : {int64_t{0}, all.asked() / 2, all.asked() - 1}) {
      CountingPace pace(go_on);
      const RowResult result = Sample(*sampler_, row.Input(&pace));
      EXPECT_EQ(pace.asked(), go_on + 1);
      EXPECT_FALSE(HasTokens(result.code));
      EXPECT_EQ(result.message, "interrupted");
      EXPECT_THAT(result.token_ids, IsEmpty());
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Threads, PaceTest, ::testing::Values(1, 2));

TEST(PaceOfBatchTest, StopsItsOwnRowAlone) {
  const auto sampler = *CreateCpuSampler({.threads = 2});
  std::vector<testing::LongRow> rows = SomeRows();
  CountingPace stops(1);
  CountingPace goes_on;
  const RowInput inputs[] = {rows[0].Input(&stops), rows[1].Input(&goes_on),
                             rows[2].Input(nullptr)};
  RowResult results[3];
  ASSERT_TRUE(sampler->Sample(inputs, absl::MakeSpan(results)).ok());
  EXPECT_EQ(results[0].message, "interrupted");
  EXPECT_EQ(results[1].code, RowCode::kOk);
  EXPECT_EQ(results[2].code, RowCode::kOk);
}

TEST(PaceOfDescribeTest, IsAskedAndStops) {
  std::vector<testing::LongRow> rows = SomeRows();
  testing::LongRow& row = rows[0];
  row.params.typical_p = 0.9;
  row.params.top_p = 0.9;
  RowResult result;
  CountingPace all;
  EXPECT_EQ(DescribeRow(row.Input(&all), kMany, result).size(), 4u);
  EXPECT_THAT(all.asked(), Gt(20));
  for (const int64_t go_on : {int64_t{0}, all.asked() / 2, all.asked() - 1}) {
    CountingPace pace(go_on);
    EXPECT_THAT(DescribeRow(row.Input(&pace), kMany, result), IsEmpty());
    EXPECT_EQ(pace.asked(), go_on + 1);
    EXPECT_EQ(result.message, "interrupted");
  }
}

// A draft whose distribution differs from the target's, so that it may be rejected.
TEST(PaceOfVerifyTest, IsAskedAndStops) {
  std::vector<testing::LongRow> rows = SomeRows();
  const auto sampler = CreateReferenceSampler();
  SamplingParams params;
  const auto verify = [&](Pace* pace) {
    const RowInput target[] = {rows[0].Input(pace), rows[0].Input(pace)};
    const RowInput drafted[] = {rows[2].Input(pace)};
    const uint32_t token_ids[] = {7};
    DraftInput draft;
    draft.target = target;
    draft.draft = drafted;
    draft.token_ids = token_ids;
    draft.params = &params;
    DraftResult result;
    EXPECT_TRUE(VerifyDrafts(*sampler, {&draft, 1}, {&result, 1}).ok());
    return result;
  };
  const DraftResult expected = verify(nullptr);
  CountingPace all;
  EXPECT_THAT(verify(&all).token_ids, ElementsAreArray(expected.token_ids));
  for (const int64_t go_on : {int64_t{0}, all.asked() / 2, all.asked() - 1}) {
    CountingPace pace(go_on);
    const DraftResult result = verify(&pace);
    EXPECT_EQ(pace.asked(), go_on + 1);
    EXPECT_THAT(result.message, HasSubstr("interrupted"));
    EXPECT_THAT(result.token_ids, IsEmpty());
  }
}

TEST(FreeingPaceTest, IsAskedWhileMuchMemoryIsFreed) {
  const auto free_much = [] {
    LargeAllocator<char> allocator;
    constexpr size_t kMuch = size_t{64} << 20;
    allocator.deallocate(allocator.allocate(kMuch), kMuch);
  };
  CountingPace pace;
  {
    const FreeingPace freeing(&pace);
    free_much();
    EXPECT_THAT(pace.asked(), Gt(8));
    const int64_t asked = pace.asked();
    {
      const FreeingPace nobody(nullptr);
      free_much();
    }
    EXPECT_EQ(pace.asked(), asked);
  }
  const int64_t asked = pace.asked();
  free_much();
  EXPECT_EQ(pace.asked(), asked);
  // A pace that stops is asked once, and the memory is still freed.
  CountingPace stops(0);
  const FreeingPace freeing(&stops);
  free_much();
  EXPECT_EQ(stops.asked(), 1);
}

}  // namespace
}  // namespace token_sampler
