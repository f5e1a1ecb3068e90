#include "cuda/lane.h"

#include <algorithm>
#include <cstring>

#include "cuda/job_plan.h"
#include "sampler/row_source.h"

namespace token_sampler::cuda {
namespace {

// Rows start where the kernel can read them by vectors.
constexpr size_t kRowAlignment = 16;

template <typename T>
absl::Status CopyAsync(T* to, const T* from, size_t count, cudaMemcpyKind kind,
                       cudaStream_t stream) {
  return ToStatus(cudaMemcpyAsync(to, from, count * sizeof(T), kind, stream), "cudaMemcpyAsync");
}

}  // namespace

const DeviceMemory* Lane::OnDevice(const RowInput& row) const {
  const DeviceMemory* const memory = row.source == nullptr ? nullptr : row.source->device_memory();
  return memory != nullptr && memory->device == device_ ? memory : nullptr;
}

size_t Lane::StagedBytes(const RowInput& row) const {
  if (OnDevice(row) != nullptr) return 0;
  return (ValueBytes(row) + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
}

absl::StatusOr<std::unique_ptr<Lane>> Lane::Create(int device, const DeviceTraits& traits,
                                                   const LaneLimits& limits) {
  std::unique_ptr<Lane> lane(new Lane(device, traits, limits));
  if (absl::Status status = lane->Allocate(); !status.ok()) return status;
  return lane;
}

absl::Status Lane::Allocate() {
  absl::Status status = ToStatus(cudaSetDevice(device_), "cudaSetDevice");
  for (Slot& slot : slots_) {
    if (status.ok()) status = AllocateSlot(slot);
  }
  return status;
}

absl::Status Lane::AllocateSlot(Slot& slot) {
  absl::Status status = cuda::Allocate(limits_.value_bytes, slot.staged_values);
  if (status.ok()) status = cuda::Allocate(limits_.rows, slot.staged_jobs);
  if (status.ok()) status = cuda::Allocate(limits_.tokens, slot.staged_tokens);
  if (status.ok()) status = cuda::Allocate(limits_.rows, slot.staged_statuses);
  if (status.ok()) status = cuda::Allocate(limits_.value_bytes, slot.values);
  if (status.ok()) status = cuda::Allocate(limits_.rows, slot.jobs);
  if (status.ok()) status = cuda::Allocate(limits_.tokens, slot.tokens);
  if (status.ok()) status = cuda::Allocate(limits_.rows, slot.statuses);
  if (status.ok()) status = cuda::Create(slot.stream);
  return status;
}

bool Lane::Fits(const RowInput& row) const {
  return StagedBytes(row) <= limits_.value_bytes && row.params->num_samples <= limits_.tokens;
}

bool Lane::HasRoom(const Slot& slot, const RowInput& row) const {
  return slot.rows.size() < limits_.rows &&
         slot.value_bytes + StagedBytes(row) <= limits_.value_bytes &&
         slot.num_tokens + row.params->num_samples <= limits_.tokens;
}

absl::Status Lane::Start(absl::Span<const RowInput> rows, const std::vector<size_t>& chosen,
                         absl::Span<RowResult> results, std::vector<size_t>& failed) {
  absl::Status status = ToStatus(cudaSetDevice(device_), "cudaSetDevice");
  if (!status.ok()) return status;
  for (const size_t index : chosen) {
    if (!HasRoom(slots_[filled_], rows[index])) {
      status = Submit(slots_[filled_]);
      if (!status.ok()) return status;
      filled_ ^= 1;
      status = Collect(slots_[filled_], results, failed);
      if (!status.ok()) return status;
    }
    Stage(rows[index], index, slots_[filled_], results[index]);
  }
  return Submit(slots_[filled_]);
}

absl::Status Lane::Finish(absl::Span<RowResult> results, std::vector<size_t>& failed) {
  for (Slot& slot : slots_) {
    if (absl::Status status = Collect(slot, results, failed); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Lane::Recover() {
  absl::Status status;
  for (Slot& slot : slots_) {
    slot.rows.clear();
    // The first call may report the error again, the second tells whether it stays.
    static_cast<void>(cudaStreamSynchronize(slot.stream.get()));
    static_cast<void>(cudaGetLastError());
    status.Update(ToStatus(cudaStreamSynchronize(slot.stream.get()), "cudaStreamSynchronize"));
  }
  return status;
}

void Lane::Stage(const RowInput& row, size_t index, Slot& slot, RowResult& result) {
  if (slot.rows.empty()) {
    slot.value_bytes = 0;
    slot.num_tokens = 0;
    slot.max_vocab = 0;
    slot.written.clear();
  }
  RowJob job = PlanJob(row);
  job.values = slot.values.get() + slot.value_bytes;
  job.first_token = slot.num_tokens;
  char* const staged = slot.staged_values.get() + slot.value_bytes;
  if (const DeviceMemory* const memory = OnDevice(row); memory != nullptr) {
    job.values = memory->address + row.source_offset;
    auto* const written = static_cast<cudaEvent_t>(memory->written);
    const bool waited_for =
        std::find(slot.written.begin(), slot.written.end(), written) != slot.written.end();
    if (written != nullptr && !waited_for) slot.written.push_back(written);
  } else if (row.source == nullptr) {
    std::memcpy(staged, row.values, ValueBytes(row));
  } else if (!ReadValues(row, staged, result)) {
    return;
  }
  slot.staged_jobs[slot.rows.size()] = job;
  slot.rows.push_back(index);
  slot.value_bytes += StagedBytes(row);
  slot.num_tokens += job.num_samples;
  slot.max_vocab = std::max(slot.max_vocab, job.vocab);
}

absl::Status Lane::Submit(Slot& slot) {
  const auto rows = static_cast<uint32_t>(slot.rows.size());
  if (rows == 0) return absl::OkStatus();
  cudaStream_t const stream = slot.stream.get();
  const LaunchShape shape = ChooseShape(traits_, rows, slot.max_vocab);
  absl::Status status;
  if (slot.value_bytes > 0) {
    status = CopyAsync(slot.values.get(), slot.staged_values.get(), slot.value_bytes,
                       cudaMemcpyHostToDevice, stream);
  }
  for (cudaEvent_t const written : slot.written) {
    if (status.ok()) {
      status = ToStatus(cudaStreamWaitEvent(stream, written, 0), "cudaStreamWaitEvent");
    }
  }
  if (status.ok()) {
    status =
        CopyAsync(slot.jobs.get(), slot.staged_jobs.get(), rows, cudaMemcpyHostToDevice, stream);
  }
  if (status.ok()) {
    status = ToStatus(LaunchSampleRows(slot.jobs.get(), rows, shape, slot.tokens.get(),
                                       slot.statuses.get(), stream),
                      "launch of SampleRows");
  }
  if (status.ok()) {
    status = CopyAsync(slot.staged_tokens.get(), slot.tokens.get(), slot.num_tokens,
                       cudaMemcpyDeviceToHost, stream);
  }
  if (status.ok()) {
    status = CopyAsync(slot.staged_statuses.get(), slot.statuses.get(), rows,
                       cudaMemcpyDeviceToHost, stream);
  }
  return status;
}

absl::Status Lane::Collect(Slot& slot, absl::Span<RowResult> results, std::vector<size_t>& failed) {
  if (slot.rows.empty()) return absl::OkStatus();
  absl::Status status = ToStatus(cudaStreamSynchronize(slot.stream.get()), "cudaStreamSynchronize");
  if (!status.ok()) return status;
  for (size_t i = 0; i < slot.rows.size(); ++i) {
    const size_t index = slot.rows[i];
    if (slot.staged_statuses[i] != JobStatus::kDrawn) {
      failed.push_back(index);
      continue;
    }
    const RowJob& job = slot.staged_jobs[i];
    const uint32_t* const tokens = slot.staged_tokens.get() + job.first_token;
    results[index].Clear();
    results[index].token_ids.assign(tokens, tokens + job.num_samples);
  }
  slot.rows.clear();
  return absl::OkStatus();
}

}  // namespace token_sampler::cuda
