// What is done to the logits before the stages: masks, bans, bias, penalties. SPEC.md §5.

#ifndef TOKEN_SAMPLER_SAMPLER_ADJUSTMENTS_H_
#define TOKEN_SAMPLER_SAMPLER_ADJUSTMENTS_H_

#include <string>

#include "absl/types/span.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Whether anything is to be done to the row.
bool HasAdjustments(const RowInput& row);

// Empty when the row's history has what its parameters need and its ids are below vocab; else what
// is wrong. Cheap where there are no adjustments.
std::string CheckHistory(const RowInput& row);

// Adjusts the row's values, read as float32 with -0 made +0, in place. The history must have passed
// CheckHistory. Afterwards a value may be +infinity, when a penalty below 1 overflows.
void AdjustValues(const RowInput& row, absl::Span<float> values);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ADJUSTMENTS_H_
