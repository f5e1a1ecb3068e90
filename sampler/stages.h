// The stages of SPEC.md §5, one at a time, on sorted survivors.

#ifndef TOKEN_SAMPLER_SAMPLER_STAGES_H_
#define TOKEN_SAMPLER_SAMPLER_STAGES_H_

#include <cstdint>
#include <optional>

#include "sampler/sampler.h"
#include "sampler/survivors.h"

namespace token_sampler {

// A row on its way through the stages.
struct StagedRow {
  Survivors survivors;  // never empty
  bool greedy = false;  // the first survivor is taken, and no further stage acts

  // What the next state depends on.
  bool used_mirostat = false;
  std::optional<Survivors> before_adaptive_p = {};
};

// The temperature of a step: the schedule's, where there is one. Below 1e-6 it is 0, greedy.
double TemperatureAt(const SamplingParams& params, uint64_t step);

// Lets one stage act. Must not be called once the row is greedy.
void ApplyStage(const RowInput& row, Stage stage, StagedRow& staged);

// What is wrong with the row's state, or an empty string.
std::string CheckState(const RowInput& row);

// The state behind the draw of `token_id`, of the stages that keep one.
RowState NextState(const RowInput& row, const StagedRow& staged, uint32_t token_id);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_STAGES_H_
