// The general pipeline of SPEC.md: a row's tokens, sorted, through every stage in any order. The
// reference sampler is this and nothing else; other backends use it for the rarer stages.

#ifndef TOKEN_SAMPLER_SAMPLER_PIPELINE_H_
#define TOKEN_SAMPLER_SAMPLER_PIPELINE_H_

#include "sampler/sampler.h"

namespace token_sampler {

// Samples one row from the beginning; `result` need not be clear.
void SampleRowByPipeline(const RowInput& row, RowResult& result);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_PIPELINE_H_
