// From the values of a row as received to those that are sampled: checks, repairs, adjustments.
// SPEC.md §2 and §8.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_ROW_VALUES_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_ROW_VALUES_H_

#include <cstddef>
#include <string>

#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Makes `result` the failure of its row.
void FailRow(RowCode code, std::string message, RowResult& result);

// Fails a row whose pace stopped it.
void FailInterrupted(RowResult& result);

// Fails the row at the first of its values that may not be in it, read as float32. False when there
// is none.
bool FailAtInvalidValue(const RowInput& row, RowResult& result);

// Fails a row none of whose tokens can be drawn.
void FailWithoutTokens(InputKind kind, RowResult& result);

// Fails a row that has fewer tokens left than it draws without replacement. False when it has
// enough.
bool FailsWithTooFew(const SamplingParams& params, size_t left, RowResult& result);

// Values as float32, with -0 made +0, all valid, at least one of a token that can be drawn.
struct RowValues {
  LargeVector<float> received;  // [vocab], repaired where the parameters ask for it
  LargeVector<float> adjusted;  // [vocab]
};

// Reads, checks and adjusts the values of a row. Throws Interrupted (sampler/rows/paced.h). False
// when the row failed. Else the code of `result` says whether values were repaired.
bool PrepareValues(const RowInput& row, RowValues& values, RowResult& result);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_ROW_VALUES_H_
