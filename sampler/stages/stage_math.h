// The arithmetic of single stages (SPEC.md §5, §10) that does not depend on how a sampler stores
// its survivors. All samplers share it.

#ifndef TOKEN_SAMPLER_SAMPLER_STAGES_STAGE_MATH_H_
#define TOKEN_SAMPLER_SAMPLER_STAGES_STAGE_MATH_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "sampler/rows/token.h"
#include "sampler/sampler.h"

namespace token_sampler {

// Returns the temperature of a step, from the schedule if there is one. A scheduled temperature
// below 1e-6 becomes 0, greedy.
double TemperatureAt(const SamplingParams& params, uint64_t step);

// Returns what dynamic temperature makes of `temperature` if `count` survivors have `entropy`, in
// nats, at temperature 1.
double DynamicTemperatureAt(const DynamicTemperature& dynamic, double temperature, uint64_t count,
                            double entropy);

// Return the value in the row's state, or the initial value if the state has none.
double EffectiveTopP(const RowInput& row);
double MirostatMu(const RowInput& row);

// The first survivors of a row, in the order of SPEC.md §3, and the scale of their weights.
struct FirstSurvivors {
  absl::Span<const Token> tokens;
  InputKind kind;
  int fraction_bits;
  double temperature;
};

// Mirostat 1 fits a Zipf law to the first survivors that have a weight, at most kMirostatFitted of
// them. Mirostat1Count returns how many survivors it keeps: 0 to 2^64 - 1, which means all. `first`
// must have these first survivors, and may have more.
inline constexpr size_t kMirostatFitted = 100;
uint64_t Mirostat1Count(double mu, int64_t vocab, const FirstSurvivors& first);

// True if the row's coin, with probability xtc.probability, lets XTC act.
bool XtcActs(const RowInput& row);

// Return the probability at which adaptive-p aims, and the logit that it gives to a token of
// `probability`.
double AdaptivePTarget(const RowInput& row);
float AdaptivePLogit(double probability, double target);

// OK, or an InvalidArgument error that names the field of the row's state that is out of range.
absl::Status CheckState(const RowInput& row);

// The probabilities of a drawn token that the next state depends on.
struct DrawnProbabilities {
  std::optional<double> kept;               // among the survivors, if mirostat acted
  std::optional<double> before_adaptive_p;  // if that stage acted
};

// Returns the state after the draw of `token_id`. Only the fields of stages that are on are set.
RowState NextState(const RowInput& row, const DrawnProbabilities& drawn, uint32_t token_id);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_STAGES_STAGE_MATH_H_
