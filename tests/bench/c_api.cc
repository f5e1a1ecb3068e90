// C functions for the CPU sampler, which tests/bench/compare.py calls through ctypes.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "sampler/cpu/cpu_sampler.h"
#include "sampler/cpu/threads/thread_pool.h"
#include "tests/bench/bench_rows.h"
#include "tests/bench/simd_max.h"

namespace {

using token_sampler::RowInput;
using token_sampler::RowResult;

struct BenchSampler {
  std::unique_ptr<token_sampler::Sampler> sampler;
  token_sampler::SamplingParams params;
  token_sampler::RowHistory history;
  std::vector<RowInput> inputs;
  std::vector<RowResult> results;
};

}  // namespace

extern "C" {

// A case of the comparison. compare.py has the same struct.
struct TokenSamplerBenchCase {
  double temperature;
  double top_p;
  double min_p;
  double repetition_penalty;
  double frequency_penalty;
  double presence_penalty;
  uint32_t top_k;
};

// Fills row[vocab]; see MakeBenchRow.
void TokenSamplerBenchRow(const char* shape, int64_t vocab, uint64_t variant, float* row) {
  const std::vector<float> values = token_sampler::bench::MakeBenchRow(shape, vocab, variant);
  std::copy(values.begin(), values.end(), row);
}

// Creates a sampler; null if that fails. It is never destroyed.
void* TokenSamplerBenchCreate(int threads, const TokenSamplerBenchCase* bench_case) {
  auto sampler = token_sampler::CreateCpuSampler({.threads = threads});
  if (!sampler.ok()) return nullptr;
  auto* made = new BenchSampler;
  made->sampler = *std::move(sampler);
  made->params = {.temperature = bench_case->temperature,
                  .top_k = bench_case->top_k,
                  .top_p = bench_case->top_p,
                  .min_p = bench_case->min_p,
                  .repetition_penalty = bench_case->repetition_penalty,
                  .frequency_penalty = bench_case->frequency_penalty,
                  .presence_penalty = bench_case->presence_penalty};
  return made;
}

// Draws tokens[count] from rows[count, vocab] with seeds seed, seed + 1, .... False on failure.
bool TokenSamplerBenchSample(void* handle, const float* rows, int64_t count, int64_t vocab,
                             const uint32_t* output_ids, int64_t output_size, uint64_t seed,
                             uint32_t* tokens) {
  BenchSampler& self = *static_cast<BenchSampler*>(handle);
  self.inputs.resize(static_cast<size_t>(count));
  self.results.resize(static_cast<size_t>(count));
  self.history.output_ids = {output_ids, static_cast<size_t>(output_size)};
  for (size_t i = 0; i < self.inputs.size(); ++i) {
    RowInput& input = self.inputs[i];
    input.values = rows + static_cast<int64_t>(i) * vocab;
    input.vocab = vocab;
    input.params = &self.params;
    input.history = &self.history;
    input.key.seed = seed + i;
  }
  if (!self.sampler->Sample(self.inputs, absl::MakeSpan(self.results)).ok()) return false;
  for (size_t i = 0; i < self.results.size(); ++i) {
    if (self.results[i].token_ids.size() != 1) return false;
    tokens[i] = self.results[i].token_ids[0];
  }
  return true;
}

// Creates threads for TokenSamplerBenchMaximum. They are never destroyed.
void* TokenSamplerBenchThreads(int threads) { return new token_sampler::cpu::ThreadPool(threads); }

// Writes maxima[count] of rows[count, vocab]. Reads the rows once, which is the limit of every
// sampler.
void TokenSamplerBenchMaximum(void* threads, const float* rows, int64_t count, int64_t vocab,
                              float* maxima) {
  static_cast<token_sampler::cpu::ThreadPool*>(threads)->ForEach(
      static_cast<size_t>(count), [&](size_t i) {
        maxima[i] = token_sampler::bench::SimdMax(rows + static_cast<int64_t>(i) * vocab,
                                                  static_cast<size_t>(vocab));
      });
}

}  // extern "C"
