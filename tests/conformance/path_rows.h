// Makes rows that reach every path of the CUDA kernel in every shape of its launch, which random
// rows reach only sometimes. The kernel supports all of them.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_PATH_ROWS_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_PATH_ROWS_H_

#include <cstdint>
#include <vector>

#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// Rows of one length: every element type x (without a mask, with a bitmask, weights with allowed
// ids) x (with and without edits of single tokens). Each combination occurs in two neighbouring
// rows.
RandomBatch MakeElementRows(int64_t vocab);

// Rows whose histograms find a prefix at once, or must be divided one to four times, with single
// filters and with all orders of several.
RandomBatch MakeStageRows();

// Rows for which the kernel's guess of the end of top-p fails: among too many tokens, too early,
// too late.
RandomBatch MakeGuessRows();

// Rows with vocabularies that just fill a vector, a warp, a block or the histogram, and with one
// token less and more.
RandomBatch MakeBoundaryRows();

// A row whose filters keep hundreds of tokens.
RandomBatch MakeLongRow(int64_t vocab);

// Rows that fail for different reasons, with the invalid value at either end.
RandomBatch MakeFailingRows();

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_PATH_ROWS_H_
