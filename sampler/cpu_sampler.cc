#include "sampler/cpu_sampler.h"

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "sampler/cpu/kernels.h"
#include "sampler/cpu/row_sampler.h"
#include "sampler/cpu/thread_pool.h"
#include "sampler/pipeline.h"

namespace token_sampler {
namespace {

using cpu::Kernels;
using cpu::RowSampler;
using cpu::ThreadPool;

class CpuSampler final : public Sampler {
 public:
  CpuSampler(const Kernels& kernels, int threads) : kernels_(kernels), pool_(threads) {}

  absl::string_view name() const override { return "cpu"; }

  std::string device() const override {
    return absl::StrCat(pool_.threads(), pool_.threads() == 1 ? " thread, " : " threads, ",
                        kernels_.name);
  }

  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    ThreadPool* slices = rows.size() < static_cast<size_t>(pool_.threads()) ? &pool_ : nullptr;
    pool_.ForEach(rows.size(), [&](size_t i) {
      std::unique_ptr<RowSampler> row_sampler = TakeRowSampler();
      SampleRow(rows[i], slices, *row_sampler, results[i]);
      ReturnRowSampler(std::move(row_sampler));
    });
    return absl::OkStatus();
  }

 private:
  static void SampleRow(const RowInput& row, ThreadPool* slices, RowSampler& row_sampler,
                        RowResult& result) {
    // The others take the general pipeline, which sorts.
    if (RowSampler::Takes(row)) {
      row_sampler.Sample(row, slices, result);
    } else {
      SampleRowByPipeline(row, result);
    }
  }

  std::unique_ptr<RowSampler> TakeRowSampler() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<RowSampler> row_sampler = std::move(idle_.back());
        idle_.pop_back();
        return row_sampler;
      }
    }
    return std::make_unique<RowSampler>(kernels_);
  }

  void ReturnRowSampler(std::unique_ptr<RowSampler> row_sampler) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(row_sampler));
  }

  const Kernels& kernels_;
  ThreadPool pool_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<RowSampler>> idle_;  // guarded by mutex_
};

}  // namespace

std::vector<std::string> CpuSamplerTargets() {
  std::vector<std::string> names;
  for (const Kernels* kernels : cpu::SupportedKernels()) names.emplace_back(kernels->name);
  return names;
}

absl::StatusOr<std::unique_ptr<Sampler>> CreateCpuSampler(const CpuSamplerOptions& options) {
  if (options.threads < 0 || options.threads > kMaxCpuThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads must be in [0, ", kMaxCpuThreads, "], got ", options.threads));
  }
  const int threads =
      options.threads > 0
          ? options.threads
          : std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxCpuThreads);
  for (const Kernels* kernels : cpu::SupportedKernels()) {
    if (options.target.empty() || options.target == kernels->name) {
      return std::make_unique<CpuSampler>(*kernels, threads);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("target must be one of ",
                                                 absl::StrJoin(CpuSamplerTargets(), ", "),
                                                 ", got \"", options.target, "\""));
}

}  // namespace token_sampler
