// Writes what a row's result holds besides the tokens: SPEC.md §7.

#ifndef TOKEN_SAMPLER_SAMPLER_REFERENCE_ROW_OUTPUTS_H_
#define TOKEN_SAMPLER_SAMPLER_REFERENCE_ROW_OUTPUTS_H_

#include <cstdint>

#include "sampler/reference/survivors.h"
#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Writes the log-probabilities, ranks, extremes and entropy of `distribution` that row.outputs asks
// for.
void WriteDistribution(const RowInput& row, const Survivors& distribution, RowResult& result);

// Writes the number and the set of tokens that the filters kept, if row.outputs asks for them.
void WriteKeptSet(const RowInput& row, const Survivors& kept, RowResult& result);

// Writes the tokens that can be drawn, with their weights; for a greedy row, its first token with
// the weight 1.
void WriteWeights(const Survivors& kept, bool greedy, RowResult& result);

// Appends a relaxed one-hot vector [vocab] for draw number `index`, which drew `token_id` from
// `tokens`. These may be in any order; those of weight 0 get 0.
void AppendGumbelSoftmax(const RowInput& row, uint32_t index, uint32_t token_id,
                         const LargeVector<Token>& tokens, RowResult& result);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REFERENCE_ROW_OUTPUTS_H_
