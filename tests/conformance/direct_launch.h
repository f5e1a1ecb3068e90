// The CUDA kernel without the sampler around it, in any shape of launch, so that a test decides
// what the sampler decides by the device and the batch. On a GPU or on the emulation of tests/simt.

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

// What launches on an H100 or H200 depend on.
inline constexpr cuda::DeviceTraits kHopper = {.max_cluster_blocks = 8,
                                               .num_sms = 132,
                                               .max_shared_bytes = size_t{227} << 10,
                                               .paired_shared_bytes = size_t{113} << 10};

// What launches on device 0 depend on. The kernel may use its shared memory from then on.
absl::StatusOr<cuda::DeviceTraits> PrepareDevice();

// Every number of blocks per row, with the rows in shared memory, where they fit, and without.
std::vector<cuda::LaunchShape> EveryShape(const cuda::DeviceTraits& device, uint32_t max_vocab);

// Launches the kernel over rows that it takes, in every shape, against what another sampler says of
// them. A shape gets one in `one_in` of the rows, each another part of them. The rows of a launch
// stand in one allocation, every second one at a multiple of 16 bytes, the others an odd number of
// elements behind one. In what a row differs, or empty; an error when the device fails.
absl::StatusOr<std::string> LaunchDifference(const RandomBatch& batch, Sampler& other,
                                             size_t one_in);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_DIRECT_LAUNCH_H_
