// Logarithms of weights, and the entropy that follows from their sums: SPEC.md §9.

#ifndef TOKEN_SAMPLER_SAMPLER_STAGES_LOG_WEIGHT_H_
#define TOKEN_SAMPLER_SAMPLER_STAGES_LOG_WEIGHT_H_

#include <cstdint>

#include "sampler/arithmetic/weight.h"
#include "sampler/arithmetic/wide_integer.h"

namespace token_sampler {

// Functions named Log2 return integers in units of 2^-kLog2Bits.
inline constexpr int kLog2Bits = 40;

// Return log2(weight / 2^F), <= 0, in those units. Log2LogitWeight is for the logit that exceeds
// the logit of weight 2^F by `difference` <= 0; Log2PlainWeight for a plain weight, `weight` > 0.
int64_t Log2LogitWeight(float difference, const WeightScale& scale);
int64_t Log2PlainWeight(uint64_t weight, int fraction_bits);

// Returns the mean of ln(weight / 2^F), <= 0, weighted by the weights. `sum_log2_weights` is the
// sum of weight * log2(weight / 2^F), in those units.
double MeanLogWeight(Int128 sum_log2_weights, uint64_t total_weight);

// Returns ln(weight * 2^-F) of a weight > 0, or of a sum of weights.
double LogOfWeight(uint64_t weight, int fraction_bits);

// Returns the entropy, -sum of p ln p, in nats, >= 0, from the same sum.
double Entropy(Int128 sum_log2_weights, uint64_t total_weight, int fraction_bits);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_STAGES_LOG_WEIGHT_H_
