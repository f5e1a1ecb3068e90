// Launches the CUDA kernel without the sampler, in any shape, which the sampler would choose by the
// device and the batch. Works on a GPU and on the emulation of tests/simt.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_DIRECT_LAUNCH_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_DIRECT_LAUNCH_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cuda/kernel/sample_rows.h"
#include "sampler/sampler.h"
#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// The traits of an H100 or H200.
inline constexpr cuda::DeviceTraits kHopper = {.max_cluster_blocks = 8,
                                               .num_sms = 132,
                                               .max_shared_bytes = size_t{227} << 10,
                                               .paired_shared_bytes = size_t{113} << 10};

// Returns the traits of device 0, and allows the kernel to use its shared memory.
absl::StatusOr<cuda::DeviceTraits> PrepareDevice();

// Returns shapes with every number of blocks per row, with values in shared memory, if they fit,
// and without.
std::vector<cuda::LaunchShape> EveryShape(const cuda::DeviceTraits& device, uint32_t max_vocab);

// Launches the kernel for rows that it supports, in every shape, and compares the results with
// those of another sampler. Each shape gets one in `one_in` rows, and different ones. The rows of a
// launch are in one allocation, every second one at a multiple of 16 bytes, the others an odd
// number of elements after one. Returns in what a row differs, or ""; an error if the device fails.
absl::StatusOr<std::string> LaunchDifference(const RandomBatch& batch, Sampler& other,
                                             size_t one_in);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_DIRECT_LAUNCH_H_
