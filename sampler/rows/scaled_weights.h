// Scales float64 weights that are beyond the range of float32. SPEC.md §2.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_SCALED_WEIGHTS_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_SCALED_WEIGHTS_H_

#include <optional>

#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Returns the row to sample again if `row` may have failed, as `failed` says, only because its
// float64 weights were rounded to float32. Its weights [vocab], written to `values`, are those of
// `row` times the power of two that brings the largest into [1/2, 1]. Returns nothing for any other
// row. `values` must outlive the result.
std::optional<RowInput> ScaledWeights(const RowInput& row, const RowResult& failed,
                                      LargeVector<float>& values);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_SCALED_WEIGHTS_H_
