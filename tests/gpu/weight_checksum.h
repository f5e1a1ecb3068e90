// The weight function at very many floats, on the device.

#ifndef TOKEN_SAMPLER_TESTS_GPU_WEIGHT_CHECKSUM_H_
#define TOKEN_SAMPLER_TESTS_GPU_WEIGHT_CHECKSUM_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "sampler/arithmetic/weight.h"

namespace token_sampler::testing {

// Adds w(d) * (2 * bits(d) + 1) mod 2^64 over the floats d with bits in [first, last] to *sum,
// which is device memory.
cudaError_t LaunchWeightChecksum(WeightScale scale, uint32_t first, uint32_t last,
                                 unsigned long long* sum, cudaStream_t stream);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_GPU_WEIGHT_CHECKSUM_H_
