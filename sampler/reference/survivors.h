// The tokens of a row that can still be drawn, and what is computed from all of them.

#ifndef TOKEN_SAMPLER_SAMPLER_REFERENCE_SURVIVORS_H_
#define TOKEN_SAMPLER_SAMPLER_REFERENCE_SURVIVORS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "sampler/arithmetic/wide_integer.h"
#include "sampler/params/sampling_params.h"
#include "sampler/rows/large_memory.h"
#include "sampler/rows/pace.h"
#include "sampler/rows/token.h"
#include "sampler/stages/log_weight.h"

namespace token_sampler {

struct Survivors {
  LargeVector<Token> tokens;  // in the order of SPEC.md §3
  InputKind kind;
  int fraction_bits;         // of the weights
  double temperature = 1.0;  // at which they were weighed
  float reference = 0.0f;    // the value that has the weight 2^F then: the largest (logits)
  Pace* pace = nullptr;      // asked by all that goes over the tokens, which may throw Interrupted

  uint64_t TotalWeight() const;

  // Weighs the tokens anew, in whatever order they stand; `at` > 0.
  void Weigh(double at);
};

// The tokens of checked values that have a probability, sorted, weighed at temperature 1.
Survivors SortTokens(InputKind kind, absl::Span<const float> values, Pace* pace = nullptr);

// A copy, as `=` makes one.
Survivors CopyOf(const Survivors& survivors);

// Brings the tokens into ascending order of their ids.
void SortById(Survivors& survivors);

// The largest and the smallest probability of tokens that have a weight.
struct ProbabilityRange {
  double max;
  double min;
};
ProbabilityRange ProbabilityRangeOf(const Survivors& survivors);

// log2 of a token's weight / 2^F, as Log2LogitWeight and Log2PlainWeight give it. Of a token of
// weight 0 it means nothing.
int64_t Log2Weight(const Token& token, const Survivors& survivors);

// What entropy is made of: the sum of weight * Log2Weight, at most 2^109 in magnitude, <= 0.
Int128 SumLog2Weights(const Survivors& survivors);

// Mean of Log2Weight in nats, <= 0: the mean of ln(weight / 2^F).
double MeanLogWeight(const Survivors& survivors);

// -sum of p ln p, in nats, >= 0.
double Entropy(const Survivors& survivors);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REFERENCE_SURVIVORS_H_
