// Logarithms of weights, and the entropy that sums of them give: SPEC.md §9.

#ifndef TOKEN_SAMPLER_SAMPLER_STAGES_LOG_WEIGHT_H_
#define TOKEN_SAMPLER_SAMPLER_STAGES_LOG_WEIGHT_H_

#include <cstdint>

#include "sampler/arithmetic/weight.h"
#include "sampler/arithmetic/wide_integer.h"

namespace token_sampler {

// Units of log2 are 2^-kLog2Bits.
inline constexpr int kLog2Bits = 40;

// log2(weight / 2^F), <= 0, in those units: of a logit at `difference` from the one of weight 2^F,
// and of a plain weight > 0.
int64_t Log2LogitWeight(float difference, const WeightScale& scale);
int64_t Log2PlainWeight(uint64_t weight, int fraction_bits);

// The mean of ln(weight / 2^F), <= 0, from the sum of weight * log2 weight in those units.
double MeanLogWeight(Int128 sum_log2_weights, uint64_t total_weight);

// ln(weight * 2^-F) of a weight or a sum of weights, > 0.
double LogOfWeight(uint64_t weight, int fraction_bits);

// -sum of p ln p, in nats, >= 0, from the same sum.
double Entropy(Int128 sum_log2_weights, uint64_t total_weight, int fraction_bits);

}  // namespace token_sampler

#endif  // TOKEN_SAMPLER_SAMPLER_STAGES_LOG_WEIGHT_H_
