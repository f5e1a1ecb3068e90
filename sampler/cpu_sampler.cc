#include "sampler/cpu_sampler.h"

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "sampler/adjustments.h"
#include "sampler/cpu/kernels.h"
#include "sampler/cpu/row_sampler.h"
#include "sampler/cpu/thread_pool.h"
#include "sampler/pipeline.h"

namespace token_sampler {
namespace {

using cpu::Kernels;
using cpu::RowSampler;
using cpu::ThreadPool;

// Whether the stages and outputs of a row are those of the SIMD path; the others take the general
// pipeline, which sorts.
bool HasCommonStages(const RowInput& row) {
  const SamplingParams& params = *row.params;
  const auto is_common = [](Stage stage) {
    return stage == Stage::kTemperature || stage == Stage::kMinP || stage == Stage::kTopK ||
           stage == Stage::kTopP;
  };
  for (const Stage stage : params.stage_order) {
    if (!is_common(stage) && StageIsOn(params, stage)) return false;
  }
  const bool plain_temperature = !params.temperature_schedule.has_value() &&
                                 !params.dynamic_temperature.has_value() &&
                                 !params.greedy_threshold.has_value();
  if (!plain_temperature || params.stage_order != kVllmOrder || row.state != nullptr ||
      params.top_p_decay.has_value() || params.invalid_values != InvalidValuePolicy::kFail ||
      params.top_k_ties != TiePolicy::kExactlyK || params.min_tokens_to_keep != 1) {
    return false;
  }
  const OutputOptions* outputs = row.outputs;
  return outputs == nullptr ||
         (!outputs->ranks && !outputs->kept_count && !outputs->kept_set && !outputs->extremes &&
          !outputs->entropy && outputs->gumbel_softmax == 0.0);
}

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
    const bool adjusted = HasAdjustments(row);
    const bool raw = row.outputs != nullptr && row.outputs->logprob_mode == LogprobMode::kRaw;
    if (!HasCommonStages(row) || (adjusted && raw)) {
      SampleRowByPipeline(row, result);
    } else if (adjusted || row.history != nullptr) {
      row_sampler.SampleAdjusted(row, slices, result);
    } else {
      row_sampler.Sample(row, slices, result);
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
