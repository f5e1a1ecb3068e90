// Makes rows of a few tokens in which filters reach their bounds: equal values, masked tokens, and
// integer parameters near the number of tokens that can be drawn.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_TINY_ROWS_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_TINY_ROWS_H_

#include <cstddef>
#include <cstdint>

#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// Makes `rows` rows of 1 .. 8 tokens with 1 .. 4 different values and any parameters. The batch
// depends only on the seed.
RandomBatch MakeTinyRows(uint64_t seed, size_t rows);

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_TINY_ROWS_H_
