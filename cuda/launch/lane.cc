#include "cuda/launch/lane.h"

#include <algorithm>
#include <cstring>

#include "cuda/plan/job_plan.h"
#include "sampler/rows/row_source.h"
#include "sampler/status_macros.h"

namespace token_sampler::cuda {
namespace {

// The alignment at which the kernel can read rows as vectors.
constexpr size_t kRowAlignment = 16;

}  // namespace

const DeviceMemory* LaneCapacity::OnDevice(const RowInput& row) const {
  const DeviceMemory* const memory = DeviceMemoryOf(row);
  return memory != nullptr && memory->device == device ? memory : nullptr;
}

size_t LaneCapacity::UploadBytes(const RowInput& row) const {
  if (OnDevice(row) != nullptr) return 0;
  return (ValueBytes(row) + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
}

bool LaneCapacity::Fits(const RowInput& row) const {
  const size_t edits = MostAdjustedTokens(row);
  return UploadBytes(row) <= limits.value_bytes && row.params->num_samples <= limits.tokens &&
         MaskWords(row) <= limits.mask_words && edits <= limits.edits &&
         (edits == 0 || FitsShared(row));
}

bool LaneCapacity::FitsShared(const RowInput& row) const {
  return ChooseShape(traits, 1, static_cast<uint32_t>(row.vocab)).values_in_shared;
}

absl::StatusOr<std::unique_ptr<Lane>> Lane::Create(const LaneCapacity& capacity) {
  std::unique_ptr<Lane> lane(new Lane(capacity));
  RETURN_IF_ERROR(lane->Allocate());
  return lane;
}

absl::Status Lane::Allocate() {
  const DeviceGuard guard(capacity_.device);
  RETURN_IF_ERROR(guard.status());
  for (Slot& slot : slots_) RETURN_IF_ERROR(AllocateSlot(slot));
  return absl::OkStatus();
}

absl::Status Lane::AllocateSlot(Slot& slot) {
  RETURN_IF_ERROR(slot.values.Allocate(capacity_.limits.value_bytes));
  RETURN_IF_ERROR(slot.jobs.Allocate(capacity_.limits.rows));
  RETURN_IF_ERROR(slot.masks.Allocate(capacity_.limits.mask_words));
  RETURN_IF_ERROR(slot.edits.Allocate(capacity_.limits.edits));
  RETURN_IF_ERROR(slot.tokens.Allocate(capacity_.limits.tokens));
  RETURN_IF_ERROR(slot.statuses.Allocate(capacity_.limits.rows));
  RETURN_IF_ERROR(cuda::Create(slot.stream));
  slot.rows.resize(capacity_.limits.rows);
  slot.pinned.resize(capacity_.limits.rows);
  Forget(slot);
  return absl::OkStatus();
}

bool Lane::HasRoom(const Slot& slot, const RowInput& row) const {
  return slot.num_rows() < capacity_.limits.rows &&
         slot.value_bytes + capacity_.UploadBytes(row) <= capacity_.limits.value_bytes &&
         slot.num_tokens + row.params->num_samples <= capacity_.limits.tokens &&
         slot.num_mask_words + MaskWords(row) <= capacity_.limits.mask_words &&
         slot.num_edits + MostAdjustedTokens(row) <= capacity_.limits.edits;
}

absl::Status Lane::Start(absl::Span<const RowInput> rows, const std::vector<size_t>& chosen,
                         absl::Span<RowResult> results, std::vector<size_t>& failed) {
  for (const size_t index : chosen) {
    if (!HasRoom(slots_[filled_], rows[index])) {
      RETURN_IF_ERROR(Submit(slots_[filled_]));
      filled_ ^= 1;
      RETURN_IF_ERROR(Collect(slots_[filled_], results, failed));
    }
    Add(rows[index], index, slots_[filled_], results[index]);
  }
  return Submit(slots_[filled_]);
}

absl::Status Lane::Finish(absl::Span<RowResult> results, std::vector<size_t>& failed) {
  for (Slot& slot : slots_) {
    RETURN_IF_ERROR(Collect(slot, results, failed));
  }
  return absl::OkStatus();
}

absl::Status Lane::Recover() {
  absl::Status status;
  for (Slot& slot : slots_) {
    Forget(slot);
    // The first call may report the old error again; the second shows whether it persists.
    static_cast<void>(cudaStreamSynchronize(slot.stream.get()));
    static_cast<void>(cudaGetLastError());
    status.Update(ToStatus(cudaStreamSynchronize(slot.stream.get()), "cudaStreamSynchronize"));
  }
  return status;
}

void Lane::Forget(Slot& slot) const {
  slot.in_shared = {};
  slot.in_device_memory = {.first = capacity_.limits.rows};
  slot.copies.Clear();
  slot.written.clear();
  slot.value_bytes = 0;
  slot.num_mask_words = 0;
  slot.num_edits = 0;
  slot.num_tokens = 0;
}

// Adds the row to its group. Returns the index of its job.
uint32_t Lane::AddToGroup(const RowInput& row, size_t index, const RowSource* pinned,
                          Slot& slot) const {
  const bool fits = capacity_.FitsShared(row);
  Group& group = fits ? slot.in_shared : slot.in_device_memory;
  const uint32_t place = fits ? group.rows : --group.first;
  ++group.rows;
  group.max_vocab = std::max(group.max_vocab, static_cast<uint32_t>(row.vocab));
  slot.rows[place] = index;
  slot.pinned[place] = pinned;
  return place;
}

void Lane::Add(const RowInput& row, size_t index, Slot& slot, RowResult& result) {
  RowJob job = PlanJob(row);
  job.values = slot.values.device.get() + slot.value_bytes;
  job.first_token = slot.num_tokens;
  char* const upload = slot.values.host.get() + slot.value_bytes;
  const RowSource* from = nullptr;
  const char* const pinned = row.source == nullptr ? nullptr : row.source->pinned_memory();
  if (const DeviceMemory* const memory = capacity_.OnDevice(row); memory != nullptr) {
    job.values = memory->address + row.source_offset;
    auto* const written = static_cast<cudaEvent_t>(memory->written);
    const bool waited_for =
        std::find(slot.written.begin(), slot.written.end(), written) != slot.written.end();
    if (written != nullptr && !waited_for) slot.written.push_back(written);
  } else if (pinned != nullptr) {
    from = row.source;
    slot.copies.Add(from, pinned + row.source_offset, slot.value_bytes, ValueBytes(row));
  } else {
    if (row.source == nullptr) {
      std::memcpy(upload, row.values, ValueBytes(row));
    } else if (!ReadValues(row, upload, result)) {
      return;
    }
    slot.copies.Add(nullptr, upload, slot.value_bytes, capacity_.UploadBytes(row));
  }
  AddAdjustments(row, slot, job);
  slot.jobs.host[AddToGroup(row, index, from, slot)] = job;
  slot.value_bytes += capacity_.UploadBytes(row);
  slot.num_tokens += job.num_samples;
}

void Lane::AddAdjustments(const RowInput& row, Slot& slot, RowJob& job) {
  if (const size_t words = MaskWords(row); words > 0) {
    job.mask = slot.masks.device.get() + slot.num_mask_words;
    WriteMask(row, slot.masks.host.get() + slot.num_mask_words);
    slot.num_mask_words += static_cast<uint32_t>(words);
  }
  const std::vector<TokenEdit>& edits = edit_lister_.List(row);
  job.edits = slot.edits.device.get() + slot.num_edits;
  job.num_edits = static_cast<uint32_t>(edits.size());
  std::copy(edits.begin(), edits.end(), slot.edits.host.get() + slot.num_edits);
  slot.num_edits += job.num_edits;
}

absl::Status Lane::Submit(Slot& slot) {
  if (slot.num_rows() == 0) return absl::OkStatus();
  cudaStream_t const stream = slot.stream.get();
  // A stream takes only kernels of its own device.
  const DeviceGuard guard(capacity_.device);
  RETURN_IF_ERROR(guard.status());
  RETURN_IF_ERROR(slot.copies.Submit(slot.values.device.get(), stream));
  for (cudaEvent_t const written : slot.written) {
    RETURN_IF_ERROR(ToStatus(cudaStreamWaitEvent(stream, written, 0), "cudaStreamWaitEvent"));
  }
  RETURN_IF_ERROR(slot.masks.CopyToDevice(0, slot.num_mask_words, stream));
  RETURN_IF_ERROR(slot.edits.CopyToDevice(0, slot.num_edits, stream));
  RETURN_IF_ERROR(Launch(slot, slot.in_shared));
  return Launch(slot, slot.in_device_memory);
}

absl::Status Lane::Launch(const Slot& slot, const Group& group) const {
  if (group.rows == 0) return absl::OkStatus();
  cudaStream_t const stream = slot.stream.get();
  RETURN_IF_ERROR(slot.jobs.CopyToDevice(group.first, group.rows, stream));
  return ToStatus(LaunchSampleRows(slot.jobs.device.get() + group.first, group.rows,
                                   ChooseShape(capacity_.traits, group.rows, group.max_vocab),
                                   slot.tokens.device, slot.statuses.device + group.first, stream),
                  "launch of SampleRows");
}

absl::Status Lane::Collect(Slot& slot, absl::Span<RowResult> results, std::vector<size_t>& failed) {
  if (slot.num_rows() == 0) return absl::OkStatus();
  RETURN_IF_ERROR(ToStatus(cudaStreamSynchronize(slot.stream.get()), "cudaStreamSynchronize"));
  const std::vector<const RowSource*> lost = slot.copies.Lost();
  for (const Group* group : {&slot.in_shared, &slot.in_device_memory}) {
    CollectGroup(slot, *group, lost, results, failed);
  }
  Forget(slot);
  return absl::OkStatus();
}

void Lane::CollectGroup(const Slot& slot, const Group& group,
                        const std::vector<const RowSource*>& lost, absl::Span<RowResult> results,
                        std::vector<size_t>& failed) {
  for (uint32_t i = group.first; i < group.first + group.rows; ++i) {
    const size_t index = slot.rows[i];
    const bool is_lost = std::find(lost.begin(), lost.end(), slot.pinned[i]) != lost.end();
    if (is_lost || slot.statuses.host[i] != JobStatus::kDrawn) {
      failed.push_back(index);
      continue;
    }
    const RowJob& job = slot.jobs.host[i];
    const uint32_t* const tokens = slot.tokens.host.get() + job.first_token;
    results[index].Clear();
    results[index].token_ids.assign(tokens, tokens + job.num_samples);
  }
}

}  // namespace token_sampler::cuda
