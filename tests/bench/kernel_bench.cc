// Measures the kernels one by one, on a cached row of 128,256 values, at every SIMD target of this
// machine.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "sampler/cpu/kernels/kernels.h"
#include "tests/bench/bench_rows.h"
#include "tests/bench/simd_max.h"

namespace token_sampler::bench {
namespace {

using cpu::Kernels;
using cpu::Weigher;

constexpr int64_t kVocab = 128'256;

// A row, and everything else that the kernels need.
struct Bench {
  explicit Bench(const Kernels& kernels)
      : row(MakeBenchRow("normal 3", kVocab, 0)),
        columns(static_cast<size_t>(kVocab + cpu::kSlack)),
        floats(static_cast<size_t>(kVocab + cpu::kSlack)),
        words(static_cast<size_t>(kVocab + cpu::kSlack)),
        wides(static_cast<size_t>(kVocab + cpu::kSlack)) {
    const cpu::Extent extent =
        kernels.For(DataType::kFloat32).scan(row.data(), 0, kVocab, false, columns.data());
    weigher.max = extent.max;
    weigher.scale = MakeWeightScale(1.0, FractionBits(kVocab));
    weigher.lowest_difference = -46.0f / weigher.scale.high;
  }

  std::vector<float> row;
  std::vector<float> columns;
  std::vector<float> floats;
  std::vector<uint32_t> words;
  std::vector<uint64_t> wides;
  Weigher weigher;
};

void Report(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * kVocab);
  state.SetBytesProcessed(state.iterations() * kVocab * 4);
}

void Max(benchmark::State& state) {
  const std::vector<float> row = MakeBenchRow("normal 3", kVocab, 0);
  for (auto _ : state) benchmark::DoNotOptimize(SimdMax(row.data(), row.size()));
  Report(state);
}
BENCHMARK(Max);

void Scan(benchmark::State& state, const Kernels* kernels) {
  Bench bench(*kernels);
  const auto& loops = kernels->For(DataType::kFloat32);
  for (auto _ : state) {
    benchmark::DoNotOptimize(loops.scan(bench.row.data(), 0, kVocab, false, bench.columns.data()));
  }
  Report(state);
}

// Collects the tokens above a value: about one in `one_in`.
void Collect(benchmark::State& state, const Kernels* kernels, float low) {
  Bench bench(*kernels);
  const auto& loops = kernels->For(DataType::kFloat32);
  for (auto _ : state) {
    benchmark::DoNotOptimize(loops.collect(bench.row.data(), 0, kVocab, bench.columns.data(),
                                           {low, std::numeric_limits<float>::infinity()}, SIZE_MAX,
                                           bench.floats.data(), bench.words.data()));
  }
  Report(state);
}

void Weigh(benchmark::State& state, const Kernels* kernels) {
  Bench bench(*kernels);
  const auto& loops = kernels->For(DataType::kFloat32);
  for (auto _ : state) {
    loops.weigh(bench.row.data(), 0, kVocab, bench.weigher, bench.wides.data());
    benchmark::ClobberMemory();
  }
  Report(state);
}

void WeighBlocks(benchmark::State& state, const Kernels* kernels, bool above) {
  Bench bench(*kernels);
  const auto& loops = kernels->For(DataType::kFloat32);
  uint64_t* both = bench.wides.data();
  for (auto _ : state) {
    loops.weigh_blocks(bench.row.data(), 0, kVocab, bench.weigher, 0.0f, both,
                       above ? both + kVocab / 2 : nullptr);
    benchmark::ClobberMemory();
  }
  Report(state);
}

const bool registered = [] {
  for (const Kernels* kernels : cpu::SupportedKernels()) {
    const std::string target = std::string("/") + kernels->name;
    benchmark::RegisterBenchmark(("Scan" + target).c_str(), Scan, kernels);
    benchmark::RegisterBenchmark(("CollectHalf" + target).c_str(), Collect, kernels, 0.0f);
    benchmark::RegisterBenchmark(("CollectFew" + target).c_str(), Collect, kernels, 6.0f);
    benchmark::RegisterBenchmark(("Weigh" + target).c_str(), Weigh, kernels);
    benchmark::RegisterBenchmark(("WeighBlocks" + target).c_str(), WeighBlocks, kernels, false);
    benchmark::RegisterBenchmark(("WeighBlocksAbove" + target).c_str(), WeighBlocks, kernels, true);
  }
  return true;
}();

}  // namespace
}  // namespace token_sampler::bench
