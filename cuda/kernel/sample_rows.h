// Launches the kernel that samples rows, with one cluster of blocks per row.

#ifndef TOKEN_SAMPLER_CUDA_KERNEL_SAMPLE_ROWS_H_
#define TOKEN_SAMPLER_CUDA_KERNEL_SAMPLE_ROWS_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "cuda/kernel/row_job.h"

namespace token_sampler::cuda {

// The properties of a device on which a launch depends.
struct DeviceTraits {
  uint32_t max_cluster_blocks;  // 1 if there are no clusters
  uint32_t num_sms;
  size_t max_shared_bytes;     // the most for a block
  size_t paired_shared_bytes;  // the most for each of two blocks on a multiprocessor
};

// How a launch divides rows among blocks.
struct LaunchShape {
  uint32_t cluster_blocks;  // per row: 1, 2, 4 or 8
  bool values_in_shared;    // false: each pass reads device memory
  size_t shared_bytes;      // per block
};

// Returns the shape for `rows` rows of at most `max_vocab` tokens. It has enough blocks per row for
// the row to fit into their shared memory. It has more if there are few rows; and if there are
// many, so that a multiprocessor has room for two blocks, of which one reads its row while the
// other works.
LaunchShape ChooseShape(const DeviceTraits& device, uint32_t rows, uint32_t max_vocab);

// Finds the traits of the current device for the kernel as loaded there, which may have been
// compiled for an older device, and allows the kernel all shared memory. Call it once per device.
cudaError_t PrepareSampleRows(DeviceTraits& traits);

// Samples jobs[0 .. rows) on `stream`. Writes jobs[i].num_samples token ids from
// tokens[jobs[i].first_token] on, and statuses[i]. The device accesses all three arrays. A job with
// edits fails if the shape does not have values in shared memory.
cudaError_t LaunchSampleRows(const RowJob* jobs, uint32_t rows, const LaunchShape& shape,
                             uint32_t* tokens, JobStatus* statuses, cudaStream_t stream);

}  // namespace token_sampler::cuda

#endif  // TOKEN_SAMPLER_CUDA_KERNEL_SAMPLE_ROWS_H_
