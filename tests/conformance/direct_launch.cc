#include "tests/conformance/direct_launch.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>

#include "cuda/launch/cuda_handles.h"
#include "cuda/plan/job_plan.h"
#include "sampler/rows/row_source.h"

namespace token_sampler::testing {
namespace {

using cuda::DeviceArray;
using cuda::JobStatus;
using cuda::RowJob;
using cuda::ToStatus;

template <typename T>
absl::Status CopyToDevice(const std::vector<T>& values, DeviceArray<T>& array) {
  // There may be none.
  absl::Status status = cuda::Allocate(std::max<size_t>(values.size(), 1), array);
  if (!status.ok() || values.empty()) return status;
  return ToStatus(
      cudaMemcpy(array.get(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
      "cudaMemcpy");
}

template <typename T>
absl::Status CopyToHost(const DeviceArray<T>& array, std::vector<T>& values) {
  return ToStatus(
      cudaMemcpy(values.data(), array.get(), values.size() * sizeof(T), cudaMemcpyDeviceToHost),
      "cudaMemcpy");
}

// The data that a launch reads and writes, on the host and on the device.
class Launch {
 public:
  void Add(const RowInput& row) {
    constexpr size_t kAligned = 16;
    const size_t index = jobs_.size();
    size_t first = (values_.size() + kAligned - 1) / kAligned * kAligned;
    if (index % 2 != 0) first += ElementSize(row.dtype) * (1 + 2 * (index % 16 / 2));
    values_.resize(first + ValueBytes(row));
    std::memcpy(values_.data() + first, row.values, ValueBytes(row));
    const size_t mask_words = cuda::MaskWords(row);
    places_.push_back({first, masks_.size(), edits_.size(), mask_words > 0});
    masks_.resize(masks_.size() + mask_words);
    if (mask_words > 0) cuda::WriteMask(row, masks_.data() + places_.back().mask);
    RowJob job = cuda::PlanJob(row);
    const std::vector<cuda::TokenEdit>& edits = lister_.List(row);
    job.num_edits = static_cast<uint32_t>(edits.size());
    edits_.insert(edits_.end(), edits.begin(), edits.end());
    job.first_token = static_cast<uint32_t>(tokens_.size());
    // Values that are neither a token nor a status, for what the kernel does not write.
    tokens_.resize(tokens_.size() + job.num_samples, ~0u);
    statuses_.push_back(static_cast<JobStatus>(~0u));
    jobs_.push_back(job);
  }

  absl::Status Run(const cuda::LaunchShape& shape) {
    absl::Status status = CopyToDevice(values_, device_values_);
    if (status.ok()) status = CopyToDevice(masks_, device_masks_);
    if (status.ok()) status = CopyToDevice(edits_, device_edits_);
    if (!status.ok()) return status;
    for (size_t i = 0; i < jobs_.size(); ++i) {
      jobs_[i].values = device_values_.get() + places_[i].value;
      jobs_[i].edits = device_edits_.get() + places_[i].edit;
      if (places_[i].has_mask) jobs_[i].mask = device_masks_.get() + places_[i].mask;
    }
    status = CopyToDevice(jobs_, device_jobs_);
    if (status.ok()) status = CopyToDevice(tokens_, device_tokens_);
    if (status.ok()) status = CopyToDevice(statuses_, device_statuses_);
    if (!status.ok()) return status;
    // A copy of pageable memory may still be under way, and the stream would not wait for it.
    status = ToStatus(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    cuda::Stream stream;
    if (status.ok()) status = cuda::Create(stream);
    if (!status.ok()) return status;
    status = ToStatus(
        cuda::LaunchSampleRows(device_jobs_.get(), static_cast<uint32_t>(jobs_.size()), shape,
                               device_tokens_.get(), device_statuses_.get(), stream.get()),
        "launch of SampleRows");
    if (status.ok()) status = ToStatus(cudaStreamSynchronize(stream.get()), "SampleRows");
    if (status.ok()) status = CopyToHost(device_tokens_, tokens_);
    return status.ok() ? CopyToHost(device_statuses_, statuses_) : status;
  }

  std::string Difference(size_t row, const RowResult& expected,
                         const cuda::LaunchShape& shape) const {
    const RowJob& job = jobs_[row];
    // Values outside shared memory cannot be changed.
    const bool fails = !HasTokens(expected.code) || (job.num_edits > 0 && !shape.values_in_shared);
    if (statuses_[row] != (fails ? JobStatus::kFailed : JobStatus::kDrawn)) return "status";
    if (fails) return "";
    const uint32_t* const tokens = tokens_.data() + job.first_token;
    return std::equal(expected.token_ids.begin(), expected.token_ids.end(), tokens,
                      tokens + job.num_samples)
               ? ""
               : "tokens";
  }

 private:
  struct RowPlace {
    size_t value;
    size_t mask;
    size_t edit;
    bool has_mask;
  };

  cuda::EditLister lister_;
  std::vector<RowPlace> places_;
  std::vector<char> values_;
  std::vector<uint32_t> masks_;
  std::vector<cuda::TokenEdit> edits_;
  std::vector<RowJob> jobs_;
  std::vector<uint32_t> tokens_;
  std::vector<JobStatus> statuses_;
  DeviceArray<char> device_values_;
  DeviceArray<uint32_t> device_masks_;
  DeviceArray<cuda::TokenEdit> device_edits_;
  DeviceArray<RowJob> device_jobs_;
  DeviceArray<uint32_t> device_tokens_;
  DeviceArray<JobStatus> device_statuses_;
};

std::string NameOf(const cuda::LaunchShape& shape) {
  return std::to_string(shape.cluster_blocks) + " blocks per row, values in " +
         (shape.values_in_shared ? "shared memory" : "device memory");
}

}  // namespace

absl::StatusOr<cuda::DeviceTraits> PrepareDevice() {
  absl::Status status = ToStatus(cudaSetDevice(0), "cudaSetDevice");
  if (!status.ok()) return status;
  cuda::DeviceTraits traits = {};
  status = ToStatus(cuda::PrepareSampleRows(traits), "PrepareSampleRows");
  if (!status.ok()) return status;
  return traits;
}

std::vector<cuda::LaunchShape> EveryShape(const cuda::DeviceTraits& device, uint32_t max_vocab) {
  std::vector<cuda::LaunchShape> shapes;
  // The shared memory of a launch on a device that has none for values.
  const size_t least = cuda::ChooseShape({1, 1, 0, 0}, 1, 1).shared_bytes;
  for (uint32_t blocks = 1; blocks <= device.max_cluster_blocks; blocks *= 2) {
    constexpr uint32_t kMultiple = 8;
    const uint32_t part = (max_vocab + blocks * kMultiple - 1) / (blocks * kMultiple) * kMultiple;
    // A part takes as much memory as a row of its length on a single block.
    cuda::LaunchShape shape = cuda::ChooseShape({1, 1, device.max_shared_bytes, 0}, 1, part);
    shape.cluster_blocks = blocks;
    if (shape.values_in_shared) shapes.push_back(shape);
    shapes.push_back({blocks, false, least});
  }
  return shapes;
}

absl::StatusOr<std::string> LaunchDifference(const RandomBatch& batch, Sampler& other,
                                             size_t one_in) {
  const absl::StatusOr<cuda::DeviceTraits> device = PrepareDevice();
  if (!device.ok()) return device.status();
  const std::vector<RowInput> rows = batch.Inputs();
  std::vector<RowResult> expected(rows.size());
  if (absl::Status status = other.Sample(rows, absl::MakeSpan(expected)); !status.ok()) {
    return status;
  }
  uint32_t max_vocab = 1;
  for (const RowInput& row : rows)
    max_vocab = std::max(max_vocab, static_cast<uint32_t>(row.vocab));
  size_t part = 0;
  for (const cuda::LaunchShape& shape : EveryShape(*device, max_vocab)) {
    Launch launch;
    std::vector<size_t> chosen;
    for (size_t i = 0; i < rows.size(); ++i) {
      // Avoid choosing with a period that the batch has.
      if ((i + i / 7 + part) % one_in != 0) continue;
      chosen.push_back(i);
      launch.Add(rows[i]);
    }
    ++part;
    if (chosen.empty()) continue;
    if (absl::Status status = launch.Run(shape); !status.ok()) return status;
    for (size_t i = 0; i < chosen.size(); ++i) {
      const std::string difference = launch.Difference(i, expected[chosen[i]], shape);
      if (difference.empty()) continue;
      return "differs in " + difference + ": " + batch.rows[chosen[i]]->description + ", " +
             NameOf(shape);
    }
  }
  return "";
}

}  // namespace token_sampler::testing
