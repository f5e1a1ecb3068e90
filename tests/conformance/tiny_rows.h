// Rows of a handful of tokens, where filters meet their bounds: equal values, masked tokens, and
// integer parameters around the number of tokens that can be drawn.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_TINY_ROWS_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_TINY_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// `rows` rows of 1 .. 8 tokens with 1 .. 4 different values, with any parameters. A function of its
// seed.
RandomBatch MakeTinyRows(uint64_t seed, size_t rows);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_TINY_ROWS_H_
