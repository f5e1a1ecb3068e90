// The tokens of a row that can still be drawn, and what is computed from all of them.

#ifndef TOKEN_SAMPLER_SAMPLER_SURVIVORS_H_
#define TOKEN_SAMPLER_SAMPLER_SURVIVORS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "sampler/large_memory.h"
#include "sampler/pace.h"
#include "sampler/sampling_params.h"
#include "sampler/weight.h"
#include "sampler/wide_integer.h"

namespace token_sampler {

struct Token {
  uint32_t id;
  float value;      // logit or plain weight
  uint64_t weight;  // its mass: SPEC.md §4
};

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

// log2 of a token's weight / 2^F, in units of 2^-kLog2Bits, <= 0: SPEC.md §9. Of a token of weight
// 0 it means nothing.
inline constexpr int kLog2Bits = 40;
int64_t Log2Weight(const Token& token, const Survivors& survivors);

// The same of a logit at `difference` from the one of weight 2^F, and of a plain weight.
int64_t Log2LogitWeight(float difference, const WeightScale& scale);
int64_t Log2PlainWeight(uint64_t weight, int fraction_bits);

// What entropy is made of: the sum of weight * Log2Weight, at most 2^109 in magnitude, <= 0.
Int128 SumLog2Weights(const Survivors& survivors);

// Mean of Log2Weight in nats, <= 0: the mean of ln(weight / 2^F).
double MeanLogWeight(const Survivors& survivors);
double MeanLogWeight(Int128 sum_log2_weights, uint64_t total_weight);

// ln(weight * 2^-F) of a weight or a sum of weights, > 0.
double LogOfWeight(uint64_t weight, int fraction_bits);

// -sum of p ln p, in nats, >= 0.
double Entropy(const Survivors& survivors);
double Entropy(Int128 sum_log2_weights, uint64_t total_weight, int fraction_bits);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_SURVIVORS_H_
