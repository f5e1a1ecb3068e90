// Applies the stages of SPEC.md §5, one at a time, to sorted survivors.

#ifndef TOKEN_SAMPLER_SAMPLER_REFERENCE_STAGES_H_
#define TOKEN_SAMPLER_SAMPLER_REFERENCE_STAGES_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "sampler/reference/survivors.h"
#include "sampler/sampler.h"
#include "sampler/stages/stage_math.h"

namespace token_sampler {

// The state of a row between stages.
struct StagedRow {
  Survivors survivors;  // never empty
  bool greedy = false;  // true: the first survivor is taken, and no further stage acts

  // For ProbabilitiesOf.
  bool used_mirostat = false;
  std::optional<Survivors> before_adaptive_p = {};
};

// Applies one stage. The row must not be greedy.
void ApplyStage(const RowInput& row, Stage stage, StagedRow& staged);

// Returns the probabilities of a drawn token that the next state depends on.
DrawnProbabilities ProbabilitiesOf(uint32_t token_id, const StagedRow& staged);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REFERENCE_STAGES_H_
