// Prints the cost of sampling as a multiple of that of finding the largest value of the same rows.
// Both are measured in turns in the same run, so that numbers of different machines are comparable.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "sampler/cpu/cpu_sampler.h"
#include "sampler/params/stage_table.h"
#include "tests/bench/bench_rows.h"
#include "tests/bench/simd_max.h"

namespace token_sampler::bench {
namespace {

constexpr char kUsage[] = R"(Usage: token-sampler-bench [--rounds N] [--vocab N] [--target NAME]

  --rounds N     measurements of each number, of which the median counts (default 101)
  --vocab N      this length alone (default: 32000, 128256 and 262144)
  --target NAME  SIMD target (default: the fastest)

A cell is the time of a row over that of the plain SIMD maximum of the same row, and, in
parentheses, microseconds per row.
)";

struct Options {
  int rounds = 101;
  std::vector<int64_t> vocabs = {32'000, 128'256, 262'144};
  std::string target;
};

struct Case {
  const char* name;
  SamplingParams params;
};

std::vector<Case> Cases() {
  std::vector<Case> cases = {{"top-k 50, top-p 0.9", {}}, {"top-k 50", {}},
                             {"min-p 0.05", {}},          {"plain", {}},
                             {"top-p 0.9", {}},           {"greedy", {}}};
  cases[0].params.top_k = 50;
  cases[0].params.top_p = 0.9;
  cases[1].params.top_k = 50;
  cases[2].params.min_p = 0.05;
  cases[4].params.top_p = 0.9;
  cases[5].params.temperature = 0;
  return cases;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

template <typename Work>
double Seconds(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Measured {
  double ratio;             // to the maximum, median over the rounds
  double max_microseconds;  // per row, medians
  double microseconds;
};

// Samples the rows with new seeds in every round.
Measured Measure(const std::vector<std::vector<float>>& rows, const SamplingParams& params,
                 Sampler& sampler, int rounds) {
  std::vector<RowInput> inputs;
  for (const std::vector<float>& row : rows) {
    RowInput input;
    input.values = row.data();
    input.vocab = static_cast<int64_t>(row.size());
    input.params = &params;
    inputs.push_back(input);
  }
  std::vector<RowResult> results(rows.size());
  std::vector<double> max_times;
  std::vector<double> times;
  std::vector<double> ratios;
  volatile float sink = 0;
  constexpr int kWarmUp = 3;
  for (int round = -kWarmUp; round < rounds; ++round) {
    for (RowInput& input : inputs) ++input.key.seed;
    const auto find_max = [&] {
      for (const std::vector<float>& row : rows) sink = SimdMax(row.data(), row.size());
    };
    // The first pass brings a single row into the cache, where the sampler then finds it.
    if (rows.size() == 1) find_max();
    const double max_time = Seconds(find_max);
    const double time = Seconds([&] {
      if (!sampler.Sample(inputs, absl::MakeSpan(results)).ok()) std::abort();
    });
    if (round < 0) continue;
    max_times.push_back(max_time);
    times.push_back(time);
    ratios.push_back(time / max_time);
  }
  for (const RowResult& result : results) {
    if (result.code != RowCode::kOk) std::abort();
  }
  const double per_row = 1e6 / static_cast<double>(rows.size());
  return {Median(ratios), Median(max_times) * per_row, Median(times) * per_row};
}

std::vector<std::vector<float>> MakeRows(const std::string& shape, int64_t vocab, int count) {
  std::vector<std::vector<float>> rows;
  for (int i = 0; i < count; ++i) {
    rows.push_back(MakeBenchRow(shape, vocab, static_cast<uint64_t>(i)));
  }
  return rows;
}

// Returns how many times faster the second sampler is than the first, measured in turns.
double Gain(const std::vector<absl::Span<const float>>& rows, const SamplingParams& params,
            absl::Span<const std::unique_ptr<Sampler>> samplers, int rounds) {
  std::vector<RowInput> inputs;
  for (const absl::Span<const float> row : rows) {
    RowInput input;
    input.values = row.data();
    input.vocab = static_cast<int64_t>(row.size());
    input.params = &params;
    input.key.stream = static_cast<uint32_t>(inputs.size());
    inputs.push_back(input);
  }
  std::vector<RowResult> results(rows.size());
  std::vector<double> ratios;
  for (int round = -1; round < rounds; ++round) {
    double times[2];
    for (int i = 0; i < 2; ++i) {
      const auto sample = [&] {
        if (!samplers[i]->Sample(inputs, absl::MakeSpan(results)).ok()) std::abort();
      };
      sample();  // wakes the threads, and fills the cache
      times[i] = Seconds(sample);
    }
    if (round >= 0) ratios.push_back(times[0] / times[1]);
  }
  return Median(ratios);
}

std::unique_ptr<Sampler> MakeSampler(int threads, const Options& options) {
  auto sampler = CreateCpuSampler({.threads = threads, .target = options.target});
  if (sampler.ok()) return *std::move(sampler);
  std::fprintf(stderr, "%s\n", sampler.status().ToString().c_str());
  std::exit(2);
}

// Prints the ratios of one row of each shape, on one thread.
void PrintShapes(int64_t vocab, const std::vector<Case>& cases,
                 const std::vector<std::string>& shapes, const Options& options) {
  const std::unique_ptr<Sampler> sampler = MakeSampler(1, options);
  std::printf("\nOne row of %lld float32, %s\n\n|", static_cast<long long>(vocab),
              sampler->device().c_str());
  for (const std::string& shape : shapes) std::printf(" | %s", shape.c_str());
  std::printf(" |\n|---");
  for (size_t i = 0; i < shapes.size(); ++i) std::printf("|---");
  std::printf("|\n");
  std::vector<double> max_times;
  for (const Case& measured_case : cases) {
    std::printf("| %s", measured_case.name);
    for (const std::string& shape : shapes) {
      const Measured measured =
          Measure(MakeRows(shape, vocab, 1), measured_case.params, *sampler, options.rounds);
      std::printf(" | %.1f (%.0f)", measured.ratio, measured.microseconds);
      std::fflush(stdout);
      max_times.push_back(measured.max_microseconds);
    }
    std::printf(" |\n");
  }
  std::printf("\nThe maximum: %.1f us\n", Median(max_times));
}

// Returns cases of the stages that need sums over a row or do not keep a prefix of its order. The
// others are above.
std::vector<Case> RarerCases() {
  std::vector<Case> cases;
  const auto add = [&](const char* name) -> SamplingParams& {
    cases.push_back({name, {}});
    return cases.back().params;
  };
  SamplingParams& transformers = add("top-k 50, top-p 0.9, order of transformers");
  transformers.top_k = 50;
  transformers.top_p = 0.9;
  transformers.top_k_ties = TiePolicy::kKeepAll;
  transformers.stage_order = kHfOrder;
  SamplingParams& xtc = add("min-p 0.05, XTC");
  xtc.min_p = 0.05;
  xtc.xtc_probability = 1.0;
  add("mirostat 1").mirostat = Mirostat{.version = 1};
  add("mirostat 2").mirostat = Mirostat{};
  add("epsilon 0.0001").epsilon_cutoff = 1e-4;
  add("eta 0.001").eta_cutoff = 1e-3;
  add("p-less").p_less = true;
  add("top-n-sigma 1").top_n_sigma = 1.0;
  add("dynamic temperature").dynamic_temperature = DynamicTemperature{.range = 0.5};
  add("adaptive-p").adaptive_p = AdaptiveP{};
  add("typical 0.9").typical_p = 0.9;
  return cases;
}

// Prints what a second thread gains: for 64 times one row, which stays in the cache, and for 64
// rows, which come from memory.
void PrintGains(int64_t vocab, const Options& options) {
  std::printf("\n64 rows of %lld float32: one thread's time over two threads'\n\n",
              static_cast<long long>(vocab));
  std::printf("| | one row, cached | 64 rows from memory |\n|---|---|---|\n");
  const auto rows = MakeRows("normal 3", vocab, 64);
  const std::vector<absl::Span<const float>> many(rows.begin(), rows.end());
  const std::vector<absl::Span<const float>> one(64, rows[0]);
  const std::unique_ptr<Sampler> samplers[] = {MakeSampler(1, options), MakeSampler(2, options)};
  for (const Case& measured_case : Cases()) {
    std::printf("| %s", measured_case.name);
    for (const auto& batch : {one, many}) {
      std::printf(" | %.2f", Gain(batch, measured_case.params, samplers, options.rounds));
      std::fflush(stdout);
    }
    std::printf(" |\n");
  }
}

// Prints the ratios of batches of normal rows, on one thread and on two.
void PrintBatches(int64_t vocab, const Options& options) {
  std::printf("\nBatches of rows \"normal 3\" of %lld float32\n\n|", static_cast<long long>(vocab));
  for (const int batch : {1, 8, 64}) {
    std::printf(" | %d, one thread | %d, two threads", batch, batch);
  }
  std::printf(" |\n|---|---|---|---|---|---|---|\n");
  for (const Case& measured_case : Cases()) {
    std::printf("| %s", measured_case.name);
    for (const int batch : {1, 8, 64}) {
      const auto rows = MakeRows("normal 3", vocab, batch);
      for (const int threads : {1, 2}) {
        const std::unique_ptr<Sampler> sampler = MakeSampler(threads, options);
        const Measured measured =
            Measure(rows, measured_case.params, *sampler, std::max(3, options.rounds / batch));
        std::printf(" | %.1f (%.0f)", measured.ratio, measured.microseconds);
        std::fflush(stdout);
      }
    }
    std::printf(" |\n");
  }
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    const bool given = value != nullptr;
    if (given && std::strcmp(argv[i], "--rounds") == 0 && std::atoi(value) > 0) {
      options.rounds = std::atoi(value);
    } else if (given && std::strcmp(argv[i], "--vocab") == 0 && std::atoi(value) >= 64) {
      options.vocabs = {std::atoi(value)};
    } else if (given && std::strcmp(argv[i], "--target") == 0) {
      options.target = value;
    } else {
      std::fputs(kUsage, stderr);
      std::exit(2);
    }
  }
  return options;
}

}  // namespace
}  // namespace token_sampler::bench

int main(int argc, char** argv) {
  using namespace token_sampler::bench;
  const Options options = ParseOptions(argc, argv);
  for (const int64_t vocab : options.vocabs) {
    PrintShapes(vocab, Cases(), UsualShapes(), options);
    PrintShapes(vocab, Cases(), AdversarialShapes(), options);
    PrintShapes(vocab, RarerCases(), UsualShapes(), options);
    PrintBatches(vocab, options);
    PrintGains(vocab, options);
  }
  return 0;
}
