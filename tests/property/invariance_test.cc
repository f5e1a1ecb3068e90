// Tests that a row's tokens do not depend on its batch, its position, its element type or padding.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using testing::LogitRow;
using testing::SampleRow;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A batch of rows that differ in every respect. Row 5 is invalid.
class BatchTest : public ::testing::Test {
 protected:
  static constexpr size_t kRows = 24;

  BatchTest() {
    std::mt19937 random(7);
    params_ = {{},
               {.temperature = 0.7, .top_k = 50, .top_p = 0.9},
               {.temperature = 0},
               {.num_samples = 5, .min_p = 0.01},
               {.num_samples = 9, .replacement = true}};
    for (size_t r = 0; r < kRows; ++r) {
      std::vector<float>& row = values_.emplace_back(50 + 37 * r);
      for (float& x : row) x = static_cast<float>(random() >> 8) * 0x1p-20f - 8.0f;
    }
    values_[5][3] = std::numeric_limits<float>::quiet_NaN();
    for (size_t r = 0; r < kRows; ++r) {
      rows_.push_back(LogitRow(values_[r], params_[r % params_.size()],
                               {.seed = 100 + r / 2, .step = r, .stream = 3}));
    }
  }

  static std::vector<RowResult> SampleBatch(const std::vector<RowInput>& rows) {
    std::vector<RowResult> results(rows.size());
    EXPECT_TRUE(CreateReferenceSampler()->Sample(rows, absl::MakeSpan(results)).ok());
    return results;
  }

  std::vector<SamplingParams> params_;
  std::vector<std::vector<float>> values_;
  std::vector<RowInput> rows_;
};

TEST_F(BatchTest, PermutingRowsPermutesResults) {
  const std::vector<RowResult> expected = SampleBatch(rows_);
  std::vector<size_t> order(kRows);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(1);
  for (int round = 0; round < 10; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    std::vector<RowInput> permuted;
    for (const size_t r : order) permuted.push_back(rows_[r]);
    const std::vector<RowResult> actual = SampleBatch(permuted);
    for (size_t i = 0; i < kRows; ++i) EXPECT_EQ(actual[i].token_ids, expected[order[i]].token_ids);
  }
}

TEST_F(BatchTest, SplittingTheBatchChangesNothing) {
  const std::vector<RowResult> expected = SampleBatch(rows_);
  for (size_t r = 0; r < kRows; ++r) {
    EXPECT_EQ(SampleBatch({rows_[r]})[0].token_ids, expected[r].token_ids) << r;
  }
}

TEST_F(BatchTest, PaddingTheBatchChangesNothing) {
  const std::vector<RowResult> expected = SampleBatch(rows_);
  std::vector<RowInput> padded(kRows, rows_[5]);
  padded.insert(padded.end(), rows_.begin(), rows_.end());
  const std::vector<RowResult> actual = SampleBatch(padded);
  for (size_t r = 0; r < kRows; ++r) {
    EXPECT_EQ(actual[kRows + r].token_ids, expected[r].token_ids) << r;
  }
}

TEST_F(BatchTest, ABadRowFailsAlone) {
  const std::vector<RowResult> results = SampleBatch(rows_);
  for (size_t r = 0; r < kRows; ++r) {
    EXPECT_EQ(results[r].code, r == 5 ? RowCode::kNan : RowCode::kOk) << r;
    EXPECT_EQ(results[r].token_ids.empty(), r == 5) << r;
  }
}

TEST_F(BatchTest, MaskedPaddingOfTheVocabularyChangesNothing) {
  for (size_t r = 0; r < kRows; ++r) {
    if (r == 5) continue;
    std::vector<float> padded = values_[r];
    padded.resize(padded.size() + 1000, -kInfinity);
    EXPECT_EQ(SampleRow(LogitRow(padded, *rows_[r].params, rows_[r].key)).token_ids,
              SampleRow(rows_[r]).token_ids);
  }
}

TEST(ElementTypeTest, EqualValuesGiveEqualTokens) {
  std::mt19937 random(3);
  // Integers up to 128 in eighths are exact in all four types.
  std::vector<float> f32;
  std::vector<double> f64;
  std::vector<uint16_t> f16;
  std::vector<uint16_t> bf16;
  for (int i = 0; i < 500; ++i) {
    const float value = static_cast<float>(random() % 64 + 64) / 8.0f;  // [8, 16): one binade
    f32.push_back(value);
    f64.push_back(value);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    bf16.push_back(static_cast<uint16_t>(bits >> 16));
    f16.push_back(static_cast<uint16_t>((18u << 10) | ((bits >> 13) & 0x3ff)));
  }
  const SamplingParams params = {.num_samples = 20, .top_p = 0.95};
  RowInput row = LogitRow(f32, params, {.seed = 8});
  const std::vector<uint32_t> expected = SampleRow(row).token_ids;
  row.dtype = DataType::kFloat64;
  row.values = f64.data();
  EXPECT_EQ(SampleRow(row).token_ids, expected);
  row.dtype = DataType::kFloat16;
  row.values = f16.data();
  EXPECT_EQ(SampleRow(row).token_ids, expected);
  row.dtype = DataType::kBFloat16;
  row.values = bf16.data();
  EXPECT_EQ(SampleRow(row).token_ids, expected);
}

TEST(ShiftTest, AddingAConstantToExactLogitsChangesNothing) {
  std::vector<float> logits;
  std::vector<float> up;
  std::vector<float> down;
  std::mt19937 random(4);
  for (int i = 0; i < 300; ++i) {
    const float value = static_cast<float>(random() % 512) / 64.0f;  // exact next to 1e4
    logits.push_back(value);
    up.push_back(value + 1e4f);
    down.push_back(value - 1e4f);
  }
  const SamplingParams params = {.num_samples = 20, .top_k = 100, .top_p = 0.9, .min_p = 0.02};
  const auto expected = SampleRow(LogitRow(logits, params)).token_ids;
  EXPECT_EQ(SampleRow(LogitRow(up, params)).token_ids, expected);
  EXPECT_EQ(SampleRow(LogitRow(down, params)).token_ids, expected);
}

}  // namespace
}  // namespace token_sampler
