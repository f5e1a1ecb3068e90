// The general pipeline of SPEC.md: a row's tokens, sorted, through every stage in any order. The
// reference sampler is this and nothing else; other backends use it where sorting does not matter.

#ifndef TOKEN_SAMPLER_SAMPLER_REFERENCE_PIPELINE_H_
#define TOKEN_SAMPLER_SAMPLER_REFERENCE_PIPELINE_H_

#include "absl/functional/function_ref.h"
#include "sampler/reference/stages.h"
#include "sampler/rows/row_values.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Samples one row from the beginning; `result` need not be clear. A row whose pace stops it fails.
void SampleRowByPipeline(const RowInput& row, RowResult& result);

// A row whose stages have all acted.
struct ProcessedRow {
  RowValues values;
  StagedRow staged;
};

// Called after each stage of the row's order that acted.
using StageObserver = absl::FunctionRef<void(Stage, const StagedRow&)>;

// Everything that comes before the draw. False when the row failed, as `result` then says. Throws
// Interrupted (sampler/rows/paced.h).
bool ProcessRow(const RowInput& row, ProcessedRow& processed, RowResult& result);
bool ProcessRow(const RowInput& row, StageObserver observer, ProcessedRow& processed,
                RowResult& result);

// The stages alone, of a row whose state passed CheckState and whose survivors are sorted.
void RunStages(const RowInput& row, StageObserver observer, StagedRow& staged);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REFERENCE_PIPELINE_H_
