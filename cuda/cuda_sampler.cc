#include "cuda/cuda_sampler.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <iterator>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cuda/launch/lane.h"
#include "cuda/launch/lane_pool.h"
#include "cuda/plan/call_plan.h"
#include "cuda/plan/host_row_trial.h"
#include "sampler/cpu/cpu_sampler.h"
#include "sampler/status_macros.h"

namespace token_sampler {
namespace {

using cuda::CallPlan;
using cuda::DeviceGuard;
using cuda::kHostRows;
using cuda::Lane;
using cuda::LaneCapacity;
using cuda::LanePool;
using cuda::PlanCall;
using cuda::ToStatus;

// With two, one call's rows are copied while another's are sampled.
constexpr int kLanesPerDevice = 2;

class CudaSampler final : public Sampler {
 public:
  CudaSampler(std::string device, std::unique_ptr<Sampler> cpu,
              std::vector<std::unique_ptr<Lane>> lanes, const CudaSamplerOptions& options)
      : device_(std::move(device)),
        cpu_(std::move(cpu)),
        on_lost_(options.on_lost),
        on_fallback_(options.on_fallback),
        host_rows_(options.host_rows),
        lanes_(std::move(lanes)) {}

  absl::string_view name() const override { return "cuda"; }
  std::string device() const override { return device_; }
  int parallel_calls() const override { return static_cast<int>(lanes_.size()); }

  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    RETURN_IF_ERROR(lanes_.lost());
    const CallPlan plan =
        PlanCall(rows,
                 {.has = [this](int device) { return lanes_.Has(device); },
                  .fit = [this](const RowInput& row) { return lanes_.Fits(row); }},
                 host_rows_);
    for (const auto& [reason, num_rows] : plan.cpu_reasons) Count(reason, num_rows);
    std::vector<size_t> failed;
    RETURN_IF_ERROR(Run(plan, rows, results, failed));
    // The CPU sampler reports what is wrong with failed rows, or draws if their owner has changed
    // them meanwhile.
    RETURN_IF_ERROR(SampleOnCpu(rows, failed, results));
    for (const size_t i : failed) {
      if (HasTokens(results[i].code)) Count("values", 1);
    }
    return absl::OkStatus();
  }

  // Call it before anyone else uses the sampler.
  absl::Status MeasureHostRows(const CudaSamplerOptions& options) {
    ASSIGN_OR_RETURN(
        host_rows_, cuda::TryHostRows(*cpu_, *this, options.measured_vocab, [] {
          return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
              .count();
        }));
    if (options.on_host_rows) options.on_host_rows(host_rows_);
    return absl::OkStatus();
  }

  std::vector<Fallback> fallbacks() const override {
    const std::lock_guard<std::mutex> lock(fallbacks_mutex_);
    return fallbacks_;
  }

 private:
  // Samples the rows where the plan says. Adds the indexes of rows that the kernel refused to
  // `failed`.
  absl::Status Run(const CallPlan& plan, absl::Span<const RowInput> rows,
                   absl::Span<RowResult> results, std::vector<size_t>& failed) {
    std::vector<std::unique_ptr<Lane>> taken;
    const absl::Status status = RunOn(taken, plan, rows, results, failed);
    for (std::unique_ptr<Lane>& lane : taken) GiveBack(std::move(lane), status);
    return status;
  }

  // Does the work of Run with lanes that it adds to `taken`, also if it fails.
  absl::Status RunOn(std::vector<std::unique_ptr<Lane>>& taken, const CallPlan& plan,
                     absl::Span<const RowInput> rows, absl::Span<RowResult> results,
                     std::vector<size_t>& failed) {
    for (const auto& [device, chosen] : plan.on_device) {
      ASSIGN_OR_RETURN(std::unique_ptr<Lane> lane, lanes_.Take(device));
      taken.push_back(std::move(lane));
      RETURN_IF_ERROR(taken.back()->Start(rows, chosen, results, failed));
    }
    // Use the CPU while the devices are busy.
    RETURN_IF_ERROR(SampleOnCpu(rows, plan.on_cpu, results));
    for (const std::unique_ptr<Lane>& lane : taken) {
      RETURN_IF_ERROR(lane->Finish(results, failed));
    }
    return absl::OkStatus();
  }

  // Counts rows that the CPU samples, and reports a reason when it is new; but not that of rows
  // which the CPU samples faster.
  void Count(absl::string_view reason, uint64_t num_rows) {
    if (AddTo(reason, num_rows) && reason != kHostRows && on_fallback_) on_fallback_(reason);
  }

  // Returns true if the reason is new.
  bool AddTo(absl::string_view reason, uint64_t num_rows) {
    const std::lock_guard<std::mutex> lock(fallbacks_mutex_);
    for (Fallback& known : fallbacks_) {
      if (known.reason != reason) continue;
      known.rows += num_rows;
      return false;
    }
    fallbacks_.push_back({std::string(reason), num_rows});
    return true;
  }

  absl::Status SampleOnCpu(absl::Span<const RowInput> rows, const std::vector<size_t>& chosen,
                           absl::Span<RowResult> results) {
    if (chosen.empty()) return absl::OkStatus();
    std::vector<RowInput> inputs;
    inputs.reserve(chosen.size());
    for (const size_t index : chosen) inputs.push_back(rows[index]);
    std::vector<RowResult> outcomes(chosen.size());
    absl::Status status = cpu_->Sample(inputs, absl::MakeSpan(outcomes));
    for (size_t i = 0; i < chosen.size(); ++i) results[chosen[i]] = std::move(outcomes[i]);
    return status;
  }

  void GiveBack(std::unique_ptr<Lane> lane, const absl::Status& status) {
    const absl::Status lost = lanes_.GiveBack(std::move(lane), status);
    if (!lost.ok() && on_lost_) on_lost_(lost);
  }

  const std::string device_;
  const std::unique_ptr<Sampler> cpu_;
  const std::function<void(const absl::Status&)> on_lost_;
  const std::function<void(absl::string_view)> on_fallback_;
  HostRowPolicy host_rows_;
  mutable std::mutex fallbacks_mutex_;
  std::vector<Fallback> fallbacks_;  // guarded by fallbacks_mutex_
  LanePool lanes_;
};

// Adds the lanes and the name of one device.
absl::Status AddDevice(int device, const CudaSamplerOptions& options,
                       std::vector<std::unique_ptr<Lane>>& lanes, std::vector<std::string>& names) {
  const DeviceGuard guard(device);
  RETURN_IF_ERROR(guard.status());
  LaneCapacity capacity = {.device = device, .traits = {}, .limits = {}};
  capacity.limits.value_bytes = options.buffer_bytes;
  RETURN_IF_ERROR(
      ToStatus(cuda::PrepareSampleRows(capacity.traits), "asking what the device can do"));
  cudaDeviceProp properties = {};
  RETURN_IF_ERROR(
      ToStatus(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties"));
  std::vector<std::unique_ptr<Lane>> created;
  for (int i = 0; i < kLanesPerDevice; ++i) {
    ASSIGN_OR_RETURN(std::unique_ptr<Lane> lane, Lane::Create(capacity));
    created.push_back(std::move(lane));
  }
  std::move(created.begin(), created.end(), std::back_inserter(lanes));
  names.emplace_back(properties.name);
  return absl::OkStatus();
}

// "NVIDIA H200", "2 x NVIDIA H200"; all names if they differ.
std::string JoinNames(const std::vector<std::string>& names) {
  const bool same = std::all_of(names.begin(), names.end(),
                                [&](const std::string& name) { return name == names.front(); });
  if (!same) return absl::StrJoin(names, ", ");
  return names.size() == 1 ? names.front() : absl::StrCat(names.size(), " x ", names.front());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sampler>> CreateCudaSampler(const CudaSamplerOptions& options) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat("no CUDA device answers: ", cudaGetErrorString(error)));
  }
  if (count == 0) return absl::FailedPreconditionError("no CUDA device answers: none found");
  ASSIGN_OR_RETURN(std::unique_ptr<Sampler> cpu,
                   CreateCpuSampler({.threads = options.cpu_threads}));
  std::vector<std::unique_ptr<Lane>> lanes;
  std::vector<std::string> names;
  std::string left_out;
  absl::Status first_error;
  for (int device = 0; device < count; ++device) {
    const absl::Status status = AddDevice(device, options, lanes, names);
    if (status.ok()) continue;
    // Clear the error, so that no later call reports it.
    static_cast<void>(cudaGetLastError());
    absl::StrAppend(&left_out, "; without device ", device, ": ", status.message());
    first_error.Update(status);
  }
  if (lanes.empty()) return first_error;
  auto sampler = std::make_unique<CudaSampler>(absl::StrCat(JoinNames(names), left_out),
                                               std::move(cpu), std::move(lanes), options);
  if (options.measured_vocab > 0) {
    RETURN_IF_ERROR(sampler->MeasureHostRows(options));
  }
  return sampler;
}

}  // namespace token_sampler
