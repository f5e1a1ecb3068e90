// The stages of SPEC.md §5, one at a time, on sorted survivors.

#ifndef TOKEN_SAMPLER_SAMPLER_REFERENCE_STAGES_H_
#define TOKEN_SAMPLER_SAMPLER_REFERENCE_STAGES_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "sampler/reference/survivors.h"
#include "sampler/sampler.h"
#include "sampler/stages/stage_math.h"

namespace token_sampler {

// A row on its way through the stages.
struct StagedRow {
  Survivors survivors;  // never empty
  bool greedy = false;  // the first survivor is taken, and no further stage acts

  // What the next state depends on.
  bool used_mirostat = false;
  std::optional<Survivors> before_adaptive_p = {};
};

// Lets one stage act. Must not be called once the row is greedy.
void ApplyStage(const RowInput& row, Stage stage, StagedRow& staged);

// The probabilities of a token that was drawn.
DrawnProbabilities ProbabilitiesOf(uint32_t token_id, const StagedRow& staged);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REFERENCE_STAGES_H_
