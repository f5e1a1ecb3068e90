// A lane takes one batch at a time to a device. It has two slots of pinned staging and device
// memory, each with a stream, and fills them in turn: rows are copied while earlier ones are
// sampled. Rows in pinned memory are copied from there to the device directly.

#ifndef TOKEN_SAMPLER_CUDA_LAUNCH_LANE_H_
#define TOKEN_SAMPLER_CUDA_LAUNCH_LANE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "cuda/kernel/row_job.h"
#include "cuda/kernel/sample_rows.h"
#include "cuda/launch/copy_list.h"
#include "cuda/launch/cuda_handles.h"
#include "cuda/plan/job_plan.h"
#include "sampler/rows/row_source.h"
#include "sampler/sampler.h"

namespace token_sampler::cuda {

// The room of a slot.
struct LaneLimits {
  size_t value_bytes = size_t{32} << 20;
  uint32_t rows = 1024;
  uint32_t tokens = 1 << 16;
  uint32_t mask_words = 1 << 20;
  uint32_t edits = 1 << 17;
};

// Decides which rows a lane of a device can take.
struct LaneCapacity {
  int device;
  DeviceTraits traits;
  LaneLimits limits;

  // True if a row that the kernel takes fits an empty slot.
  bool Fits(const RowInput& row) const;
  // True if the row fits shared memory: the kernel then reads device memory only once.
  bool FitsShared(const RowInput& row) const;
  // The row's place in the memory of the device; null if it must be copied there.
  const DeviceMemory* OnDevice(const RowInput& row) const;
  // The bytes of a slot that the row takes for its copy.
  size_t UploadBytes(const RowInput& row) const;
};

class Lane {
 public:
  // Internal when the device refuses the memory.
  static absl::StatusOr<std::unique_ptr<Lane>> Create(const LaneCapacity& capacity);

  int device() const { return capacity_.device; }

  const LaneCapacity& capacity() const { return capacity_; }

  // Samples rows[i] into results[i] for all i in `chosen`, whose rows must fit. Returns while the
  // last rows are under way; Finish() waits for them. Both add the i of failed rows to `failed`.
  absl::Status Start(absl::Span<const RowInput> rows, const std::vector<size_t>& chosen,
                     absl::Span<RowResult> results, std::vector<size_t>& failed);
  absl::Status Finish(absl::Span<RowResult> results, std::vector<size_t>& failed);

  // After an error: waits until the streams are idle and forgets what was under way. Returns an
  // error when the device cannot be used any more.
  absl::Status Recover();

 private:
  // The jobs of one launch, which are contiguous.
  struct Group {
    uint32_t first = 0;
    uint32_t rows = 0;
    uint32_t max_vocab = 0;
  };

  struct Slot {
    UploadArray<char> values;
    UploadArray<RowJob> jobs;
    UploadArray<uint32_t> masks;
    UploadArray<TokenEdit> edits;
    MappedArray<uint32_t> tokens;
    MappedArray<JobStatus> statuses;
    Stream stream;

    // Jobs of rows that fit shared memory are at the front of `jobs`, the others at the back.
    Group in_shared;
    Group in_device_memory;
    CopyList copies;
    std::vector<size_t> rows;              // per job, the index of its row in the batch
    std::vector<const RowSource*> pinned;  // per job, source of a row in pinned memory
    std::vector<cudaEvent_t> written;      // events to wait for before the kernel reads the rows
    size_t value_bytes = 0;
    uint32_t num_mask_words = 0;
    uint32_t num_edits = 0;
    uint32_t num_tokens = 0;

    uint32_t num_rows() const { return in_shared.rows + in_device_memory.rows; }
  };

  explicit Lane(const LaneCapacity& capacity) : capacity_(capacity) {}

  absl::Status Allocate();
  absl::Status AllocateSlot(Slot& slot);
  bool HasRoom(const Slot& slot, const RowInput& row) const;
  // Adds a row to the slot. A row in the device's memory stays there. A row in pinned memory is
  // copied from there when the slot is submitted. Any other is read into staging: if that fails,
  // the row fails at once.
  void Add(const RowInput& row, size_t index, Slot& slot, RowResult& result);
  void AddAdjustments(const RowInput& row, Slot& slot, RowJob& job);
  void Forget(Slot& slot) const;
  uint32_t AddToGroup(const RowInput& row, size_t index, const RowSource* pinned, Slot& slot) const;
  absl::Status Submit(Slot& slot);
  absl::Status Launch(const Slot& slot, const Group& group) const;
  absl::Status Collect(Slot& slot, absl::Span<RowResult> results, std::vector<size_t>& failed);
  // Rows copied from `lost` sources fail.
  static void CollectGroup(const Slot& slot, const Group& group,
                           const std::vector<const RowSource*>& lost, absl::Span<RowResult> results,
                           std::vector<size_t>& failed);

  const LaneCapacity capacity_;
  EditLister edit_lister_;
  Slot slots_[2];
  int filled_ = 0;  // the slot being filled; the other may be under way
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_LAUNCH_LANE_H_
