// The tokens of a row that can still be drawn, and functions of all of them.

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
  float reference = 0.0f;    // the largest value then; as a logit it has the weight 2^F
  Pace* pace = nullptr;      // asked by every pass over the tokens, which may throw Interrupted

  uint64_t TotalWeight() const;

  // Computes the weights of the tokens, which may be in any order, at temperature `at` > 0.
  void Weigh(double at);
};

// Returns the tokens that can be drawn, sorted, with their weights at temperature 1. The values
// must have passed the checks.
Survivors SortTokens(InputKind kind, absl::Span<const float> values, Pace* pace = nullptr);

// Returns a copy. Unlike a copy constructor, asks the pace.
Survivors CopyOf(const Survivors& survivors);

// Sorts the tokens by ascending id.
void SortById(Survivors& survivors);

// The largest and the smallest probability of tokens that have a weight.
struct ProbabilityRange {
  double max;
  double min;
};
ProbabilityRange ProbabilityRangeOf(const Survivors& survivors);

// Returns log2 of a token's weight / 2^F in the units of Log2LogitWeight and Log2PlainWeight; 0 for
// a weight of 0.
int64_t Log2Weight(const Token& token, const Survivors& survivors);

// Returns the sum of weight * Log2Weight, from which the entropy follows: <= 0, at most 2^109 in
// magnitude.
Int128 SumLog2Weights(const Survivors& survivors);

// Returns the mean of ln(weight / 2^F), weighted by the weights, <= 0.
double MeanLogWeight(const Survivors& survivors);

// Returns the entropy, -sum of p ln p, in nats, >= 0.
double Entropy(const Survivors& survivors);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_REFERENCE_SURVIVORS_H_
