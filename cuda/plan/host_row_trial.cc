#include "cuda/plan/host_row_trial.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "sampler/status_macros.h"

namespace token_sampler::cuda {
namespace {

constexpr size_t kFewRows = 1;
constexpr size_t kManyRows = 16;
constexpr int kTimedCalls = 5;

// Nearly normal logits, with a standard deviation of 3, as real ones have.
std::vector<float> MakeLogits(size_t count) {
  std::vector<float> logits(count);
  uint32_t state = 1;
  for (float& logit : logits) {
    state = state * 1664525u + 1013904223u;
    const uint32_t mixed = (state ^ state >> 15) * 2246822519u;
    const uint32_t sum = (mixed & 255) + (mixed >> 8 & 255) + (mixed >> 16 & 255) + (mixed >> 24);
    logit = (static_cast<float>(sum) - 510.0f) / 49.0f;
  }
  return logits;
}

SamplingParams ParamsOf(RowWork work) {
  SamplingParams params;
  if (work == RowWork::kTopK) params.top_k = 50;
  if (work == RowWork::kMinP) params.min_p = 0.05;
  if (work == RowWork::kTopP) params.top_p = 0.9;
  return params;
}

// Measures one sampler with the clock.
class Trial {
 public:
  Trial(Sampler& sampler, const std::function<double()>& seconds)
      : sampler_(sampler), seconds_(seconds) {}

  absl::StatusOr<double> MedianSeconds(absl::Span<const RowInput> rows) {
    std::vector<RowResult> results(rows.size());
    std::vector<double> taken;
    // The first call also allocates what later ones use again.
    for (int call = 0; call <= kTimedCalls; ++call) {
      const double begin = seconds_();
      RETURN_IF_ERROR(sampler_.Sample(rows, absl::MakeSpan(results)));
      if (call > 0) taken.push_back(seconds_() - begin);
    }
    const auto median = taken.begin() + kTimedCalls / 2;
    std::nth_element(taken.begin(), median, taken.end());
    return *median;
  }

  // The cost of a call with `rows`, which have `units` units each.
  absl::StatusOr<CallCost> Cost(absl::Span<const RowInput> rows, size_t units) {
    ASSIGN_OR_RETURN(const double few, MedianSeconds(rows.first(kFewRows)));
    ASSIGN_OR_RETURN(const double many, MedianSeconds(rows));
    const double per_row = std::max(0.0, many - few) / (kManyRows - kFewRows);
    return CallCost{.fixed = std::max(0.0, few - per_row * kFewRows),
                    .per_unit = per_row / static_cast<double>(units)};
  }

 private:
  Sampler& sampler_;
  const std::function<double()>& seconds_;
};

}  // namespace

absl::StatusOr<HostRowPolicy> TryHostRows(Sampler& cpu, Sampler& device, size_t vocab,
                                          const std::function<double()>& seconds) {
  const std::vector<float> logits = MakeLogits(kManyRows * vocab);
  Trial on_cpu(cpu, seconds);
  Trial on_device(device, seconds);
  HostRowPolicy policy;
  for (size_t work = 0; work < kRowWorks; ++work) {
    const SamplingParams params = ParamsOf(static_cast<RowWork>(work));
    std::vector<RowInput> rows(kManyRows);
    for (size_t row = 0; row < kManyRows; ++row) {
      rows[row].values = &logits[row * vocab];
      rows[row].vocab = static_cast<int64_t>(vocab);
      rows[row].params = &params;
      rows[row].key.stream = static_cast<uint32_t>(row);
    }
    ASSIGN_OR_RETURN(const CallCost cpu_cost, on_cpu.Cost(rows, vocab));
    ASSIGN_OR_RETURN(const CallCost device_cost, on_device.Cost(rows, vocab * sizeof(float)));
    policy.costs[work] = {cpu_cost, device_cost};
  }
  return policy;
}

}  // namespace token_sampler::cuda
