#include "cuda/launch/lane.h"

#include <algorithm>
#include <cstring>

#include "cuda/plan/job_plan.h"
#include "sampler/rows/row_source.h"

namespace token_sampler::cuda {
namespace {

// The alignment at which the kernel can read rows as vectors.
constexpr size_t kRowAlignment = 16;

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
  const DeviceGuard guard(device_);
  absl::Status status = guard.status();
  for (Slot& slot : slots_) {
    if (status.ok()) status = AllocateSlot(slot);
  }
  return status;
}

absl::Status Lane::AllocateSlot(Slot& slot) {
  absl::Status status = slot.values.Allocate(limits_.value_bytes);
  if (status.ok()) status = slot.jobs.Allocate(limits_.rows);
  if (status.ok()) status = slot.masks.Allocate(limits_.mask_words);
  if (status.ok()) status = slot.edits.Allocate(limits_.edits);
  if (status.ok()) status = slot.tokens.Allocate(limits_.tokens);
  if (status.ok()) status = slot.statuses.Allocate(limits_.rows);
  if (status.ok()) status = cuda::Create(slot.stream);
  slot.rows.resize(limits_.rows);
  slot.pinned.resize(limits_.rows);
  Forget(slot);
  return status;
}

bool Lane::Fits(const RowInput& row) const {
  const size_t edits = MostAdjustedTokens(row);
  return StagedBytes(row) <= limits_.value_bytes && row.params->num_samples <= limits_.tokens &&
         MaskWords(row) <= limits_.mask_words && edits <= limits_.edits &&
         (edits == 0 || FitsShared(row));
}

bool Lane::FitsShared(const RowInput& row) const {
  return ChooseShape(traits_, 1, static_cast<uint32_t>(row.vocab)).values_in_shared;
}

bool Lane::HasRoom(const Slot& slot, const RowInput& row) const {
  return slot.num_rows() < limits_.rows &&
         slot.value_bytes + StagedBytes(row) <= limits_.value_bytes &&
         slot.num_tokens + row.params->num_samples <= limits_.tokens &&
         slot.num_mask_words + MaskWords(row) <= limits_.mask_words &&
         slot.num_edits + MostAdjustedTokens(row) <= limits_.edits;
}

absl::Status Lane::Start(absl::Span<const RowInput> rows, const std::vector<size_t>& chosen,
                         absl::Span<RowResult> results, std::vector<size_t>& failed) {
  for (const size_t index : chosen) {
    if (!HasRoom(slots_[filled_], rows[index])) {
      absl::Status status = Submit(slots_[filled_]);
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
  slot.in_device_memory = {.first = limits_.rows};
  slot.copies.Clear();
  slot.written.clear();
  slot.value_bytes = 0;
  slot.num_mask_words = 0;
  slot.num_edits = 0;
  slot.num_tokens = 0;
}

// Adds the row to its group. Returns the index of its job.
uint32_t Lane::AddRow(const RowInput& row, size_t index, const RowSource* pinned,
                      Slot& slot) const {
  const bool fits = FitsShared(row);
  Group& group = fits ? slot.in_shared : slot.in_device_memory;
  const uint32_t place = fits ? group.rows : --group.first;
  ++group.rows;
  group.max_vocab = std::max(group.max_vocab, static_cast<uint32_t>(row.vocab));
  slot.rows[place] = index;
  slot.pinned[place] = pinned;
  return place;
}

void Lane::Stage(const RowInput& row, size_t index, Slot& slot, RowResult& result) {
  RowJob job = PlanJob(row);
  job.values = slot.values.device.get() + slot.value_bytes;
  job.first_token = slot.num_tokens;
  char* const staged = slot.values.host.get() + slot.value_bytes;
  const RowSource* from = nullptr;
  const char* const pinned = row.source == nullptr ? nullptr : row.source->pinned_memory();
  if (const DeviceMemory* const memory = OnDevice(row); memory != nullptr) {
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
      std::memcpy(staged, row.values, ValueBytes(row));
    } else if (!ReadValues(row, staged, result)) {
      return;
    }
    slot.copies.Add(nullptr, staged, slot.value_bytes, StagedBytes(row));
  }
  StageAdjustments(row, slot, job);
  slot.jobs.host[AddRow(row, index, from, slot)] = job;
  slot.value_bytes += StagedBytes(row);
  slot.num_tokens += job.num_samples;
}

void Lane::StageAdjustments(const RowInput& row, Slot& slot, RowJob& job) {
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
  const DeviceGuard guard(device_);
  absl::Status status = guard.status();
  if (status.ok()) status = slot.copies.Submit(slot.values.device.get(), stream);
  for (cudaEvent_t const written : slot.written) {
    if (status.ok()) {
      status = ToStatus(cudaStreamWaitEvent(stream, written, 0), "cudaStreamWaitEvent");
    }
  }
  if (status.ok()) status = slot.masks.CopyToDevice(0, slot.num_mask_words, stream);
  if (status.ok()) status = slot.edits.CopyToDevice(0, slot.num_edits, stream);
  for (const Group* group : {&slot.in_shared, &slot.in_device_memory}) {
    if (status.ok()) status = Launch(slot, *group);
  }
  return status;
}

absl::Status Lane::Launch(const Slot& slot, const Group& group) const {
  if (group.rows == 0) return absl::OkStatus();
  cudaStream_t const stream = slot.stream.get();
  absl::Status status = slot.jobs.CopyToDevice(group.first, group.rows, stream);
  if (!status.ok()) return status;
  return ToStatus(LaunchSampleRows(slot.jobs.device.get() + group.first, group.rows,
                                   ChooseShape(traits_, group.rows, group.max_vocab),
                                   slot.tokens.device, slot.statuses.device + group.first, stream),
                  "launch of SampleRows");
}

absl::Status Lane::Collect(Slot& slot, absl::Span<RowResult> results, std::vector<size_t>& failed) {
  if (slot.num_rows() == 0) return absl::OkStatus();
  absl::Status status = ToStatus(cudaStreamSynchronize(slot.stream.get()), "cudaStreamSynchronize");
  if (!status.ok()) return status;
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
