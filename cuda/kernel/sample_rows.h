// The kernel that samples rows, one cluster of blocks each, and what its launch needs.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_SAMPLE_ROWS_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_SAMPLE_ROWS_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/kernel/row_job.h"

namespace token_sampler::cuda {

// What a launch depends on.
struct DeviceTraits {
  uint32_t max_cluster_blocks;  // 1 where there are no clusters
  uint32_t num_sms;
  size_t max_shared_bytes;     // that a block may ask for
  size_t paired_shared_bytes;  // that each of two blocks on one multiprocessor may ask for
};

// How the rows of a launch are laid over the device.
struct LaunchShape {
  uint32_t cluster_blocks;  // per row: 1, 2, 4 or 8
  bool values_in_shared;    // else each pass reads device memory
  size_t shared_bytes;      // per block
};

// The shape for `rows` rows of at most `max_vocab` tokens: blocks enough for the row to fit their
// shared memory; more of them when there are few rows, and when there are many, so that a
// multiprocessor has room for two blocks: one reads its row while the other works on its own.
LaunchShape ChooseShape(const DeviceTraits& device, uint32_t rows, uint32_t max_vocab);

// Asks the current device what it does with the kernel as it was loaded there, which may have been
// compiled for an older one, and allows the kernel all shared memory. Once per device.
cudaError_t PrepareSampleRows(DeviceTraits& traits);

// Samples jobs[0 .. rows) on `stream`: jobs[i].num_samples token ids from
// tokens[jobs[i].first_token] on, and statuses[i]. The device reads and writes all three. A job
// with edits fails where the shape has no values in shared memory.
cudaError_t LaunchSampleRows(const RowJob* jobs, uint32_t rows, const LaunchShape& shape,
                             uint32_t* tokens, JobStatus* statuses, cudaStream_t stream);

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_SAMPLE_ROWS_H_
