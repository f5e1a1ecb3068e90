// The general pipeline of SPEC.md: sorts a row's tokens, then applies every stage in any order. The
// reference sampler consists of it; other backends use it if the cost of sorting does not matter.

#ifndef TOKEN_SAMPLER_SAMPLER_REFERENCE_PIPELINE_H_
#define TOKEN_SAMPLER_SAMPLER_REFERENCE_PIPELINE_H_

#include "absl/functional/function_ref.h"
#include "sampler/reference/stages.h"
#include "sampler/rows/row_values.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Samples one row and overwrites `result`. The row fails if its pace stops it.
void SampleRowByPipeline(const RowInput& row, RowResult& result);

// A row after its last stage.
struct ProcessedRow {
  RowValues values;
  StagedRow staged;
};

// Called after each stage of the row's order, including those that are off, until the row is
// greedy.
using StageObserver = absl::FunctionRef<void(Stage, const StagedRow&)>;

// Does everything that comes before the draw: checks, adjustments, stages. False if the row failed,
// for the reason in `result`. Throws Interrupted (sampler/rows/paced.h).
bool ProcessRow(const RowInput& row, ProcessedRow& processed, RowResult& result);
bool ProcessRow(const RowInput& row, StageObserver observer, ProcessedRow& processed,
                RowResult& result);

// Runs only the stages. The row's state must have passed CheckState, and `staged` must have its
// sorted survivors.
void RunStages(const RowInput& row, StageObserver observer, StagedRow& staged);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REFERENCE_PIPELINE_H_
