// Float64 weights that float32 does not hold as they are. SPEC.md §2.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_SCALED_WEIGHTS_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_SCALED_WEIGHTS_H_

#include <optional>

#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler {

// The row to sample instead of `row`, which failed as `failed` says, if that may be for its float64
// weights having been rounded to float32: the same row with weights [vocab] in `values`, multiplied
// by the power of two that brings the largest into [1/2, 1]. Nothing for any other row. `values`
// must outlive the result.
std::optional<RowInput> ScaledWeights(const RowInput& row, const RowResult& failed,
                                      LargeVector<float>& values);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_SCALED_WEIGHTS_H_
