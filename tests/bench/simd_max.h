// The yardstick: only finds the largest of a row of floats.

#ifndef TOKEN_SAMPLER_TESTS_BENCH_SIMD_MAX_H_
#define TOKEN_SAMPLER_TESTS_BENCH_SIMD_MAX_H_

#include <cstddef>

namespace token_sampler::bench {

// Returns the largest value, by four independent maxima on the widest vectors of this machine.
// `count` must be at least 64.
float SimdMax(const float* values, size_t count);

}  // namespace token_sampler::bench

#endif  // TOKEN_SAMPLER_TESTS_BENCH_SIMD_MAX_H_
