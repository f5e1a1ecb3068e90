// Tests what the CPU sampler reports of itself, its options, and several callers at a time.
// tests/conformance tests its tokens.

#include "sampler/cpu/cpu_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "sampler/cpu/threads/row_threads.h"
#include "sampler/sampler.h"
#include "tests/testing/sample_row.h"

namespace token_sampler {
namespace {

using ::testing::HasSubstr;

TEST(CpuSamplerTest, WakesThreadsForBatchesThatKeepThemBusy) {
  const auto threads = [](size_t rows, int64_t vocab, uint32_t draws) {
    const SamplingParams params = {.num_samples = draws, .replacement = true};
    RowInput row;
    row.vocab = vocab;
    row.params = &params;
    return cpu::ThreadsForRows(std::vector<RowInput>(rows, row), 8);
  };
  EXPECT_EQ(threads(1, 1 << 24, 1), 1u);
  EXPECT_EQ(threads(64, 1, 1), 1u);
  EXPECT_EQ(threads(2, 32'000, 1), 2u);
  EXPECT_EQ(threads(64, 1'000, 1), 5u);
  EXPECT_EQ(threads(64, 32'000, 1), 8u);
  EXPECT_EQ(threads(4, 1, 1 << 14), 4u);
}

TEST(CpuSamplerTest, SaysWhatItRunsOn) {
  const std::string target = CpuSamplerTargets().back();
  const auto one = CreateCpuSampler({.threads = 1, .target = target});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ((*one)->name(), "cpu");
  EXPECT_EQ((*one)->device(), "1 thread, " + target);
  EXPECT_EQ((*CreateCpuSampler({.threads = 3, .target = target}))->device(),
            "3 threads, " + target);
}

TEST(CpuSamplerTest, TakesTheFastestTargetUnlessTold) {
  EXPECT_THAT((*CreateCpuSampler({.threads = 1}))->device(),
              HasSubstr(CpuSamplerTargets().front()));
}

TEST(CpuSamplerTest, RefusesOptionsOutOfRange) {
  for (const int threads : {-1, kMaxCpuThreads + 1}) {
    const absl::Status status = CreateCpuSampler({.threads = threads}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(threads)));
  }
  const absl::Status status = CreateCpuSampler({.threads = 1, .target = "AVX9"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("AVX9"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(CpuSamplerTargets().front()));
}

TEST(CpuSamplerTest, SamplesAnEmptyBatch) {
  EXPECT_TRUE((*CreateCpuSampler({.threads = 2}))->Sample({}, {}).ok());
}

TEST(CpuSamplerTest, ServesSeveralCallersAtOnce) {
  // Rows shorter and longer than the length from which threads share a row.
  const std::vector<float> short_values(1000, 1.0f);
  const std::vector<float> long_values(200'000, 1.0f);
  const SamplingParams params{.top_p = 0.9};
  std::vector<RowInput> rows;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    rows.push_back(testing::LogitRow(short_values, params, {.seed = seed}));
    rows.push_back(testing::LogitRow(long_values, params, {.seed = seed}));
  }
  std::vector<RowResult> expected(rows.size());
  ASSERT_TRUE(CreateReferenceSampler()->Sample(rows, absl::MakeSpan(expected)).ok());

  const std::unique_ptr<Sampler> sampler = CreateCpuSampler({.threads = 8}).value();
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (size_t batch = 1; batch <= rows.size(); ++batch) {
        std::vector<RowResult> results(batch);
        EXPECT_TRUE(
            sampler->Sample(absl::MakeConstSpan(rows).first(batch), absl::MakeSpan(results)).ok());
        for (size_t i = 0; i < batch; ++i) EXPECT_EQ(results[i].token_ids, expected[i].token_ids);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
}  // namespace token_sampler
