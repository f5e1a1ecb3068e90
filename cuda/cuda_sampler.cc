#include "cuda/cuda_sampler.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cuda/launch/lane.h"
#include "cuda/launch/lane_pool.h"
#include "cuda/plan/host_row_trial.h"
#include "cuda/plan/job_plan.h"
#include "sampler/cpu/cpu_sampler.h"
#include "sampler/rows/row_source.h"

namespace token_sampler {
namespace {

using cuda::DeviceGuard;
using cuda::DeviceTraits;
using cuda::Lane;
using cuda::LaneLimits;
using cuda::LanePool;
using cuda::ToStatus;
using cuda::WhyNotKernel;

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
    if (absl::Status lost = lanes_.lost(); !lost.ok()) return lost;
    std::vector<size_t> for_cpu;
    std::vector<std::unique_ptr<Lane>> taken;
    std::vector<size_t> failed;
    absl::Status status;
    for (const auto& [device, chosen] : ShareOut(rows, for_cpu)) {
      absl::StatusOr<std::unique_ptr<Lane>> lane = lanes_.Take(device);
      status = lane.status();
      if (!status.ok()) break;
      taken.push_back(*std::move(lane));
      status =
          taken.back()->Start(rows, Fitting(*taken.back(), rows, chosen, for_cpu), results, failed);
      if (!status.ok()) break;
    }
    // Use the CPU while the devices are busy.
    if (status.ok()) status = SampleOnCpu(rows, for_cpu, results);
    for (const std::unique_ptr<Lane>& lane : taken) {
      if (status.ok()) status = lane->Finish(results, failed);
    }
    for (std::unique_ptr<Lane>& lane : taken) GiveBack(std::move(lane), status);
    if (!status.ok()) return status;
    // The CPU sampler reports what is wrong with failed rows, or draws if their owner has changed
    // them meanwhile.
    status = SampleOnCpu(rows, failed, results);
    for (const size_t i : failed) {
      if (status.ok() && HasTokens(results[i].code)) Count("values");
    }
    return status;
  }

  // Call it before anyone else uses the sampler.
  absl::Status MeasureHostRows(const CudaSamplerOptions& options) {
    const absl::StatusOr<HostRowPolicy> policy =
        cuda::TryHostRows(*cpu_, *this, options.measured_vocab, [] {
          return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
              .count();
        });
    if (!policy.ok()) return policy.status();
    host_rows_ = *policy;
    if (options.on_host_rows) options.on_host_rows(host_rows_);
    return absl::OkStatus();
  }

  std::vector<Fallback> fallbacks() const override {
    const std::lock_guard<std::mutex> lock(fallbacks_mutex_);
    return fallbacks_;
  }

 private:
  // The rows that the kernel takes, by the device whose memory holds them. Rows in no device's
  // memory go to the first device that has rows anyway, or else to any. Other rows are added to
  // `for_cpu`.
  std::map<int, std::vector<size_t>> ShareOut(absl::Span<const RowInput> rows,
                                              std::vector<size_t>& for_cpu) {
    std::map<int, std::vector<size_t>> shares;
    std::vector<size_t> of_no_device;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (const absl::string_view why = WhyNotKernel(rows[i]); !why.empty()) {
        Count(why);
        for_cpu.push_back(i);
        continue;
      }
      const RowSource* const source = rows[i].source;
      const DeviceMemory* const memory = source == nullptr ? nullptr : source->device_memory();
      const bool lies_there = memory != nullptr && lanes_.Has(memory->device);
      (lies_there ? shares[memory->device] : of_no_device).push_back(i);
    }
    LeaveToCpu(rows, of_no_device, for_cpu);
    if (of_no_device.empty()) return shares;
    if (shares.empty()) shares[LanePool::kAnyDevice];
    std::vector<size_t>& first = shares.begin()->second;
    first.insert(first.end(), of_no_device.begin(), of_no_device.end());
    return shares;
  }

  // Moves rows from `from_host` to `for_cpu` as the policy decides.
  void LeaveToCpu(absl::Span<const RowInput> rows, std::vector<size_t>& from_host,
                  std::vector<size_t>& for_cpu) {
    HostRows of_work[kRowWorks] = {};
    for (const size_t i : from_host) {
      HostRows& same = of_work[static_cast<size_t>(WorkOf(*rows[i].params))];
      same.tokens += static_cast<size_t>(rows[i].vocab);
      same.bytes += ValueBytes(rows[i]);
    }
    const auto for_device =
        std::stable_partition(from_host.begin(), from_host.end(), [&](size_t i) {
          const RowWork work = WorkOf(*rows[i].params);
          return !host_rows_.ForCpu(work, of_work[static_cast<size_t>(work)]);
        });
    for (auto i = for_device; i != from_host.end(); ++i) {
      AddTo("host_rows");
      for_cpu.push_back(*i);
    }
    from_host.erase(for_device, from_host.end());
  }

  // The `chosen` rows that fit the lane. The others are added to `for_cpu`.
  std::vector<size_t> Fitting(const Lane& lane, absl::Span<const RowInput> rows,
                              const std::vector<size_t>& chosen, std::vector<size_t>& for_cpu) {
    std::vector<size_t> fitting;
    for (const size_t i : chosen) {
      const bool fits = lane.Fits(rows[i]);
      if (!fits) Count("vocab");
      (fits ? fitting : for_cpu).push_back(i);
    }
    return fitting;
  }

  void Count(absl::string_view why) {
    if (AddTo(why) && on_fallback_) on_fallback_(why);
  }

  // Counts a row. True when the reason is new.
  bool AddTo(absl::string_view reason) {
    const std::lock_guard<std::mutex> lock(fallbacks_mutex_);
    for (Fallback& known : fallbacks_) {
      if (known.reason != reason) continue;
      ++known.rows;
      return false;
    }
    fallbacks_.push_back({std::string(reason), 1});
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
  if (!guard.status().ok()) return guard.status();
  DeviceTraits traits = {};
  absl::Status status = ToStatus(cuda::PrepareSampleRows(traits), "asking what the device can do");
  if (!status.ok()) return status;
  cudaDeviceProp properties = {};
  status = ToStatus(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  if (!status.ok()) return status;
  LaneLimits limits;
  limits.value_bytes = options.buffer_bytes;
  std::vector<std::unique_ptr<Lane>> created;
  for (int i = 0; i < kLanesPerDevice; ++i) {
    absl::StatusOr<std::unique_ptr<Lane>> lane = Lane::Create(device, traits, limits);
    if (!lane.ok()) return lane.status();
    created.push_back(*std::move(lane));
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
  absl::StatusOr<std::unique_ptr<Sampler>> cpu = CreateCpuSampler({.threads = options.cpu_threads});
  if (!cpu.ok()) return cpu.status();
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
                                               *std::move(cpu), std::move(lanes), options);
  if (options.measured_vocab > 0) {
    if (absl::Status status = sampler->MeasureHostRows(options); !status.ok()) return status;
  }
  return sampler;
}

}  // namespace token_sampler
