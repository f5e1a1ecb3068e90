#include "cuda/cuda_sampler.h"

#include <cuda_runtime.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cuda/job_plan.h"
#include "cuda/lane.h"
#include "sampler/cpu_sampler.h"

namespace token_sampler {
namespace {

using cuda::DeviceTraits;
using cuda::Lane;
using cuda::LaneLimits;
using cuda::ToStatus;
using cuda::WhyNotKernel;

// So that one call's rows are copied while another's are sampled.
constexpr int kLanesPerDevice = 2;

class CudaSampler final : public Sampler {
 public:
  CudaSampler(std::string device, std::unique_ptr<Sampler> cpu,
              std::vector<std::unique_ptr<Lane>> lanes, const CudaSamplerOptions& options)
      : device_(std::move(device)),
        cpu_(std::move(cpu)),
        on_lost_(options.on_lost),
        on_fallback_(options.on_fallback),
        idle_(std::move(lanes)) {}

  absl::string_view name() const override { return "cuda"; }
  std::string device() const override { return device_; }

  absl::Status Sample(absl::Span<const RowInput> rows, absl::Span<RowResult> results) override {
    absl::StatusOr<std::unique_ptr<Lane>> lane = TakeLane();
    if (!lane.ok()) return lane.status();
    std::vector<size_t> for_kernel;
    std::vector<size_t> for_cpu;
    for (size_t i = 0; i < rows.size(); ++i) {
      absl::string_view why = WhyNotKernel(rows[i]);
      if (why.empty() && !(*lane)->Fits(rows[i])) why = "vocab";
      (why.empty() ? for_kernel : for_cpu).push_back(i);
      if (!why.empty()) Count(why);
    }
    std::vector<size_t> failed;
    absl::Status status = (*lane)->Start(rows, for_kernel, results, failed);
    // While the device is busy.
    if (status.ok()) status = SampleOnCpu(rows, for_cpu, results);
    if (status.ok()) status = (*lane)->Finish(results, failed);
    GiveBack(*std::move(lane), status);
    if (!status.ok()) return status;
    // The CPU sampler says what is wrong with them.
    return SampleOnCpu(rows, failed, results);
  }

  std::vector<Fallback> fallbacks() const override {
    const std::lock_guard<std::mutex> lock(fallbacks_mutex_);
    return fallbacks_;
  }

 private:
  void Count(absl::string_view why) {
    {
      const std::lock_guard<std::mutex> lock(fallbacks_mutex_);
      for (Fallback& known : fallbacks_) {
        if (known.reason != why) continue;
        ++known.rows;
        return;
      }
      fallbacks_.push_back({std::string(why), 1});
    }
    if (on_fallback_) on_fallback_(why);
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

  // Waits for a lane. The error of a device that is lost.
  absl::StatusOr<std::unique_ptr<Lane>> TakeLane() {
    std::unique_lock<std::mutex> lock(mutex_);
    returned_.wait(lock, [this] { return !idle_.empty() || !lost_.ok(); });
    if (!lost_.ok()) return lost_;
    std::unique_ptr<Lane> lane = std::move(idle_.front());
    idle_.erase(idle_.begin());
    return lane;
  }

  void GiveBack(std::unique_ptr<Lane> lane, const absl::Status& status) {
    const absl::Status recovered = status.ok() ? status : lane->Recover();
    bool lost_now = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      idle_.push_back(std::move(lane));
      lost_now = lost_.ok() && !recovered.ok();
      if (lost_now) lost_ = recovered;
      returned_.notify_all();
    }
    if (lost_now && on_lost_) on_lost_(recovered);
  }

  const std::string device_;
  const std::unique_ptr<Sampler> cpu_;
  const std::function<void(const absl::Status&)> on_lost_;
  const std::function<void(absl::string_view)> on_fallback_;
  mutable std::mutex fallbacks_mutex_;
  std::vector<Fallback> fallbacks_;  // guarded by fallbacks_mutex_
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<std::unique_ptr<Lane>> idle_;  // guarded by mutex_
  absl::Status lost_;                        // why no call can succeed any more, guarded by mutex_
};

absl::StatusOr<DeviceTraits> TraitsOf(int device) {
  struct Wanted {
    cudaDeviceAttr attribute;
    int value;
  };
  Wanted wanted[] = {{cudaDevAttrComputeCapabilityMajor, 0},
                     {cudaDevAttrMultiProcessorCount, 0},
                     {cudaDevAttrMaxSharedMemoryPerBlockOptin, 0}};
  for (Wanted& one : wanted) {
    absl::Status status = ToStatus(cudaDeviceGetAttribute(&one.value, one.attribute, device),
                                   "cudaDeviceGetAttribute");
    if (!status.ok()) return status;
  }
  constexpr int kFirstWithClusters = 9;
  return DeviceTraits{wanted[0].value >= kFirstWithClusters, static_cast<uint32_t>(wanted[1].value),
                      static_cast<size_t>(wanted[2].value)};
}

absl::Status AddLanes(int device, const CudaSamplerOptions& options,
                      std::vector<std::unique_ptr<Lane>>& lanes) {
  const absl::StatusOr<DeviceTraits> traits = TraitsOf(device);
  if (!traits.ok()) return traits.status();
  absl::Status status = ToStatus(cudaSetDevice(device), "cudaSetDevice");
  if (!status.ok()) return status;
  status = ToStatus(cuda::PrepareSampleRows(*traits), "cudaFuncSetAttribute");
  if (!status.ok()) return status;
  LaneLimits limits;
  limits.value_bytes = options.buffer_bytes;
  for (int i = 0; i < kLanesPerDevice; ++i) {
    absl::StatusOr<std::unique_ptr<Lane>> lane = Lane::Create(device, *traits, limits);
    if (!lane.ok()) return lane.status();
    lanes.push_back(*std::move(lane));
  }
  return absl::OkStatus();
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
  absl::StatusOr<std::unique_ptr<Sampler>> cpu = CreateCpuSampler({});
  if (!cpu.ok()) return cpu.status();
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int device = 0; device < count; ++device) {
    if (absl::Status status = AddLanes(device, options, lanes); !status.ok()) return status;
  }
  cudaDeviceProp properties = {};
  absl::Status status =
      ToStatus(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  if (!status.ok()) return status;
  std::string name = count == 1 ? properties.name : absl::StrCat(count, " x ", properties.name);
  return std::make_unique<CudaSampler>(std::move(name), *std::move(cpu), std::move(lanes), options);
}

}  // namespace token_sampler
