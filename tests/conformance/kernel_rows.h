// Makes random rows that the CUDA kernel samples itself.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_KERNEL_ROWS_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_KERNEL_ROWS_H_

#include <cstdint>

#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// Keeps the values of the rows, and of some rows the adjustments with their history and bitmask.
// Gives all rows random parameters that the kernel supports, and removes everything else.
void LeaveToKernel(uint64_t seed, RandomBatch& batch);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_KERNEL_ROWS_H_
