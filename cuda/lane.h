// A way to the device for one batch at a time: two slots of pinned staging and device memory, each
// with a stream, that are filled in turn, so that rows are copied while those before them are
// sampled. Rows in pinned memory go straight from there to the device's.

#ifndef TOKEN_SAMPLER_CUDA_LANE_H_
#define TOKEN_SAMPLER_CUDA_LANE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "cuda/copy_list.h"
#include "cuda/job_plan.h"
#include "cuda/kernel/row_job.h"
#include "cuda/kernel/sample_rows.h"
#include "cuda/resources.h"
#include "sampler/row_source.h"
#include "sampler/sampler.h"

namespace token_sampler::cuda {

// What a slot holds.
struct LaneLimits {
  size_t value_bytes = size_t{32} << 20;
  uint32_t rows = 1024;
  uint32_t tokens = 1 << 16;
  uint32_t mask_words = 1 << 20;
  uint32_t edits = 1 << 17;
};

class Lane {
 public:
  // Internal when the device refuses.
  static absl::StatusOr<std::unique_ptr<Lane>> Create(int device, const DeviceTraits& traits,
                                                      const LaneLimits& limits);

  int device() const { return device_; }

  // Whether a row that the kernel takes fits a slot.
  bool Fits(const RowInput& row) const;

  // Samples rows[i] into results[i] for the `chosen` i, of rows that fit. Returns with the last of
  // them under way; Finish waits. The i whose rows failed are added to `failed`.
  absl::Status Start(absl::Span<const RowInput> rows, const std::vector<size_t>& chosen,
                     absl::Span<RowResult> results, std::vector<size_t>& failed);
  absl::Status Finish(absl::Span<RowResult> results, std::vector<size_t>& failed);

  // After an error: waits until the streams are idle and forgets what was under way. The error when
  // the device cannot be used any more.
  absl::Status Recover();

 private:
  // Jobs of one launch, one behind the other.
  struct Group {
    uint32_t first = 0;
    uint32_t rows = 0;
    uint32_t max_vocab = 0;
  };

  struct Slot {
    StagedArray<char> values;
    StagedArray<RowJob> jobs;
    StagedArray<uint32_t> masks;
    StagedArray<TokenEdit> edits;
    MappedArray<uint32_t> tokens;
    MappedArray<JobStatus> statuses;
    Stream stream;

    // Jobs of rows that fit shared memory stand at the front, the others at the back.
    Group in_shared;
    Group in_device_memory;
    CopyList copies;
    std::vector<size_t> rows;              // per job, the index of its row in the call
    std::vector<const RowSource*> pinned;  // per job, where its row was copied from; null: staged
    std::vector<cudaEvent_t> written;      // to wait for, before the kernel reads the rows
    size_t value_bytes = 0;
    uint32_t num_mask_words = 0;
    uint32_t num_edits = 0;
    uint32_t num_tokens = 0;

    uint32_t num_rows() const { return in_shared.rows + in_device_memory.rows; }
  };

  Lane(int device, const DeviceTraits& traits, const LaneLimits& limits)
      : device_(device), traits_(traits), limits_(limits) {}

  // Where the device itself can read the row; null: it must be staged.
  const DeviceMemory* OnDevice(const RowInput& row) const;
  size_t StagedBytes(const RowInput& row) const;
  absl::Status Allocate();
  absl::Status AllocateSlot(Slot& slot);
  bool HasRoom(const Slot& slot, const RowInput& row) const;
  // A row that cannot be read fails at once. One in the device's memory stays there, one in pinned
  // memory is copied from there, once the slot is full.
  void Stage(const RowInput& row, size_t index, Slot& slot, RowResult& result);
  void StageAdjustments(const RowInput& row, Slot& slot, RowJob& job);
  // Whether the row is kept in shared memory: its launch then reads device memory once.
  bool FitsShared(const RowInput& row) const;
  void Forget(Slot& slot) const;
  uint32_t AddRow(const RowInput& row, size_t index, const RowSource* pinned, Slot& slot) const;
  absl::Status Submit(Slot& slot);
  absl::Status Launch(const Slot& slot, const Group& group) const;
  absl::Status Collect(Slot& slot, absl::Span<RowResult> results, std::vector<size_t>& failed);
  // Rows that were copied from `lost` sources fail.
  static void CollectGroup(const Slot& slot, const Group& group,
                           const std::vector<const RowSource*>& lost, absl::Span<RowResult> results,
                           std::vector<size_t>& failed);

  const int device_;
  const DeviceTraits traits_;
  const LaneLimits limits_;
  EditLister edit_lister_;
  Slot slots_[2];
  int filled_ = 0;  // the slot that is filled; the other may be under way
};

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_LANE_H_
