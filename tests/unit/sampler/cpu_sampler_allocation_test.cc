// Tests that a warm CPU sampler allocates nothing, by counting every `new` of this program.

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/params/stage_table.h"
#include "sampler/sampler.h"
#include "tests/testing/every_stage.h"

namespace {

std::atomic<uint64_t> allocations{0};

void* CountedAllocate(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return CountedAllocate(size); }
void* operator new[](std::size_t size) { return CountedAllocate(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++allocations;
  const auto unit = static_cast<std::size_t>(alignment);
  void* memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit);
  if (memory == nullptr) std::abort();
  return memory;
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return operator new(size, alignment);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }

namespace token_sampler {
namespace {

constexpr int64_t kVocab = 150'000;  // long enough for threads to share a row

struct Case {
  const char* name;
  SamplingParams params;
  OutputOptions outputs;
};

std::vector<Case> Cases() {
  const OutputOptions none;
  const OutputOptions raw = {.logprobs = true, .top_logprobs = 20, .ranks = true};
  const OutputOptions processed = {.logprobs = true,
                                   .top_logprobs = 20,
                                   .logprob_mode = LogprobMode::kProcessed,
                                   .ranks = true,
                                   .kept_count = true,
                                   .kept_set = true};
  std::vector<Case> cases = {
      {"plain", {}, none},
      {"greedy", {.temperature = 0.0}, raw},
      {"top-k", {.top_k = 50}, none},
      {"top-p", {.top_p = 0.9}, none},
      {"top-k and top-p", {.temperature = 0.7, .top_k = 50, .top_p = 0.9}, raw},
      {"top-p with its kept set", {.top_p = 0.5}, processed},
      {"several draws", {.num_samples = 8, .replacement = true, .top_p = 0.9}, none},
      {"the order of llama.cpp",
       {.temperature = 0.7,
        .top_k = 40,
        .top_p = 0.95,
        .min_p = 0.05,
        .stage_order = kLlamaCppOrder},
       none},
      {"top-k with its ties, as transformers",
       {.top_k = 50, .top_k_ties = TiePolicy::kKeepAll, .stage_order = kHfOrder},
       none},
      {"top-n-sigma and p-less", {.top_n_sigma = 2.0, .p_less = true}, none},
      {"XTC behind min-p", {.min_p = 0.01, .xtc_probability = 1.0}, processed},
      {"least survivors", {.top_p = 0.1, .min_tokens_to_keep = 20}, none},
      {"entropy and extremes", {.top_p = 0.9}, {.extremes = true, .entropy = true}},
      {"every adjustment",
       {.top_k = 50,
        .banned_ids = {1, 2},
        .bad_words = {{3}, {5, 6}},
        .min_tokens = 9,
        .stop_ids = {7},
        .logit_bias = {{8, 1.0f}},
        .repetition_penalty = 1.1,
        .frequency_penalty = 0.1,
        .presence_penalty = 0.1,
        .no_repeat_ngram_size = 3,
        .dry = {.multiplier = 0.8}},
       none},
      {"a list of allowed tokens", {.allowed_ids = {1, 2, 3, 100, 101}}, none}};
  for (const testing::StageSetting& setting : testing::EveryStage()) {
    for (const double strength : setting.strengths) {
      Case& c = cases.emplace_back();
      c.name = setting.name.c_str();
      setting.set(strength, c.params);
      c.outputs = InfoOf(setting.stage).remakes ? processed : none;
    }
  }
  return cases;
}

// Makes rows of several shapes, so that every path through the sampler is taken.
std::vector<std::vector<float>> MakeRows() {
  std::mt19937_64 generator(1);
  std::vector<std::vector<float>> rows;
  for (const float sigma : {0.0f, 1.0f, 5.0f}) {
    std::normal_distribution<float> normal(0, 1);
    std::vector<float>& row = rows.emplace_back(static_cast<size_t>(kVocab));
    for (float& logit : row) logit = sigma * normal(generator);
  }
  rows.push_back(rows[1]);
  rows.back()[77] = 25.0f;
  return rows;
}

TEST(CpuSamplerAllocationTest, AWarmSamplerAllocatesNothing) {
  const std::vector<std::vector<float>> rows = MakeRows();
  std::vector<uint32_t> ids(300);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<uint32_t>(i * 37 % 100);
  const RowHistory history = {.prompt_ids = absl::MakeConstSpan(ids).first(200),
                              .output_ids = absl::MakeConstSpan(ids).last(100)};
  std::vector<uint8_t> bitmask(static_cast<size_t>((kVocab + 31) / 32 * 4), 0xfd);
  for (const int threads : {1, 2}) {
    const std::unique_ptr<Sampler> sampler = CreateCpuSampler({.threads = threads}).value();
    for (const Case& test_case : Cases()) {
      SCOPED_TRACE(std::string(test_case.name) + " with " + std::to_string(threads) + " threads");
      std::vector<RowInput> inputs;
      for (const std::vector<float>& row : rows) {
        RowInput input;
        input.values = row.data();
        input.vocab = kVocab;
        input.params = &test_case.params;
        input.outputs = &test_case.outputs;
        input.history = &history;
        inputs.push_back(input);
        input.bitmask = bitmask.data();
        inputs.push_back(input);
      }
      std::vector<RowResult> results(inputs.size());
      const auto sample_all = [&] {
        for (size_t row = 0; row < inputs.size(); ++row) {
          ASSERT_TRUE(sampler->Sample({&inputs[row], 1}, {&results[row], 1}).ok());
        }
      };
      sample_all();
      const uint64_t before = allocations;
      sample_all();
      EXPECT_EQ(allocations - before, 0u);
      for (const RowResult& result : results) EXPECT_EQ(result.code, RowCode::kOk);
    }
  }
}

}  // namespace
}  // namespace token_sampler
