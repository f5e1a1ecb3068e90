// The stages of SPEC.md §5, one at a time, on sorted survivors.

#ifndef TOKEN_SAMPLER_SAMPLER_STAGES_H_
#define TOKEN_SAMPLER_SAMPLER_STAGES_H_

#include <cstddef>
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

// What dynamic temperature makes of it where `count` survivors have `entropy`, in nats, at 1.
double DynamicTemperatureAt(const DynamicTemperature& dynamic, double temperature, uint64_t count,
                            double entropy);

// What the row's state says, or how it begins.
double EffectiveTopP(const RowInput& row);
double MirostatMu(const RowInput& row);

// Mirostat 1 fits a Zipf law to this many first survivors, and keeps as many as the function says,
// 0 to all. `first` holds those and may hold more.
inline constexpr size_t kMirostatFitted = 100;
uint64_t Mirostat1Count(double mu, int64_t vocab, const Survivors& first);

// Whether the row's coin lets XTC act.
bool XtcActs(const RowInput& row);

// What adaptive-p aims at, and the logit that it gives to a token of `probability`.
double AdaptivePTarget(const RowInput& row);
float AdaptivePLogit(double probability, double target);

// Lets one stage act. Must not be called once the row is greedy.
void ApplyStage(const RowInput& row, Stage stage, StagedRow& staged);

// What is wrong with the row's state, or an empty string.
std::string CheckState(const RowInput& row);

// Probabilities of a token that was drawn.
struct DrawnProbabilities {
  std::optional<double> kept;               // among the survivors, where mirostat acted
  std::optional<double> before_adaptive_p;  // where that stage acted
};
DrawnProbabilities ProbabilitiesOf(uint32_t token_id, const StagedRow& staged);

// The state behind the draw of `token_id`, of the stages that keep one.
RowState NextState(const RowInput& row, const DrawnProbabilities& drawn, uint32_t token_id);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_STAGES_H_
