// Rows that lead down every path of the CUDA kernel, whatever the shape of its launch: what random
// rows reach now and then, these reach always. The kernel takes them all.

#ifndef TOKEN_SAMPLER_TESTS_CONFORMANCE_PATH_ROWS_H_
#define TOKEN_SAMPLER_TESTS_CONFORMANCE_PATH_ROWS_H_

#include <cstdint>
#include <vector>

#include "tests/conformance/random_batch.h"

namespace token_sampler::testing {

// Rows of one length: every element type x without a mask, with a bitmask, as weights with allowed
// ids x with and without edits of single tokens. Each combination twice, in neighbours.
RandomBatch MakeElementRows(int64_t vocab);

// Rows whose histograms find a prefix at once, or have to be divided one to four times, under each
// filter alone and under all orders of several.
RandomBatch MakeStageRows();

// Rows on which the kernel's guess of where top-p ends fails: among too many tokens, too early, too
// late.
RandomBatch MakeGuessRows();

// Rows with the vocabularies at which a vector, a warp, a block or the histogram is just full, and
// one token less and more.
RandomBatch MakeBoundaryRows();

// One row whose filters keep hundreds of tokens.
RandomBatch MakeLongRow(int64_t vocab);

// Rows that fail, each for another reason, with the value at fault at either end.
RandomBatch MakeFailingRows();

}  // namespace token_sampler::testing

#endif  // TOKEN_SAMPLER_TESTS_CONFORMANCE_PATH_ROWS_H_
