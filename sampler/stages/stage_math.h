// The arithmetic of single stages (SPEC.md §5, §10) that does not depend on how a sampler holds its
// survivors, so that all samplers share it.

#ifndef TOKEN_SAMPLER_SAMPLER_STAGES_STAGE_MATH_H_
#define TOKEN_SAMPLER_SAMPLER_STAGES_STAGE_MATH_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "sampler/rows/token.h"
#include "sampler/sampler.h"

namespace token_sampler {

// The temperature of a step: the schedule's, where there is one. Below 1e-6 it is 0, greedy.
double TemperatureAt(const SamplingParams& params, uint64_t step);

// The temperature that dynamic temperature makes of it when `count` survivors have `entropy`, in
// nats, at temperature 1.
double DynamicTemperatureAt(const DynamicTemperature& dynamic, double temperature, uint64_t count,
                            double entropy);

// The value in the row's state, or the one that the state begins with.
double EffectiveTopP(const RowInput& row);
double MirostatMu(const RowInput& row);

// The first survivors of a row, in the order of SPEC.md §3, and how they were weighed.
struct FirstSurvivors {
  absl::Span<const Token> tokens;
  InputKind kind;
  int fraction_bits;
  double temperature;
};

// Mirostat 1 fits a Zipf law to this many first survivors that have a weight, and keeps as many as
// the function says, 0 to all. `first` holds those and may hold more.
inline constexpr size_t kMirostatFitted = 100;
uint64_t Mirostat1Count(double mu, int64_t vocab, const FirstSurvivors& first);

// Whether the row's coin lets XTC act.
bool XtcActs(const RowInput& row);

// The probability that adaptive-p aims at, and the logit that it gives to a token of `probability`.
double AdaptivePTarget(const RowInput& row);
float AdaptivePLogit(double probability, double target);

// Says what is wrong with the row's state; "" if nothing is.
std::string CheckState(const RowInput& row);

// Probabilities of a token that was drawn.
struct DrawnProbabilities {
  std::optional<double> kept;               // among the survivors, where mirostat acted
  std::optional<double> before_adaptive_p;  // where that stage acted
};

// The state after the draw of `token_id`, of the stages that keep one.
RowState NextState(const RowInput& row, const DrawnProbabilities& drawn, uint32_t token_id);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_STAGES_STAGE_MATH_H_
