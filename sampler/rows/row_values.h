// Prepares the received values of a row for sampling: checks, repairs, adjustments. SPEC.md §2 and
// §8.

#ifndef TOKEN_SAMPLER_SAMPLER_ROWS_ROW_VALUES_H_
#define TOKEN_SAMPLER_SAMPLER_ROWS_ROW_VALUES_H_

#include <cstddef>
#include <string>

#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Sets `result` to a failure of its row; the rest of it is cleared.
void FailRow(RowCode code, std::string message, RowResult& result);

// Fails a row whose pace stopped it.
void FailInterrupted(RowResult& result);

// Reads the row's values as float32 and fails it at the first invalid one. False if there is none.
bool FailAtInvalidValue(const RowInput& row, RowResult& result);

// Fails a row that has no token to draw.
void FailWithoutTokens(InputKind kind, RowResult& result);

// Fails a row that has fewer tokens left than it draws without replacement. False if it has enough.
bool FailsWithTooFew(const SamplingParams& params, size_t left, RowResult& result);

// Values as float32, with -0 made +0: all valid, and at least one of a token that can be drawn.
struct RowValues {
  LargeVector<float> received;  // [vocab], repaired where the parameters ask for it
  LargeVector<float> adjusted;  // [vocab]
};

// Reads, checks and adjusts the values of a row. False if the row failed; otherwise the code of
// `result` says whether values were repaired. Throws Interrupted (sampler/rows/paced.h).
bool PrepareValues(const RowInput& row, RowValues& values, RowResult& result);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_ROWS_ROW_VALUES_H_
