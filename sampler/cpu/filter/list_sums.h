// Sums over the tokens of a list with weights, and the ends of filters on such a list.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_FILTER_LIST_SUMS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_FILTER_LIST_SUMS_H_

#include <cstddef>
#include <cstdint>

#include "sampler/arithmetic/wide_integer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/token_list.h"

namespace token_sampler::cpu {

// Returns log2 of the weight of token i / 2^F, in the units of sampler/stages/log_weight.h. The
// weight must not be 0.
int64_t Log2Weight(const TokenList& list, size_t i, const Weigher& weigher);

// Returns the sum of weight * Log2Weight.
Int128 SumLog2Weights(const TokenList& list, const Weigher& weigher);

// Returns the sum of the squares of the weights.
Uint128 SumSquares(const TokenList& list);

// The next three functions return the least value that a filter keeps of a list; -infinity if it
// keeps all. The filter keeps the longest prefix of the order whose tokens all meet a condition,
// which is the same for equal values.

// Condition: weight >= threshold.
float LeastOfWeight(uint64_t threshold, const TokenList& list);

// Condition: weight > 0 and ln(weight * 2^-F) >= threshold.
float LeastOfLogWeight(double threshold, const TokenList& list, const Weigher& weigher);

// Condition: the logit is within `sigmas` standard deviations of `largest`, the largest logit of
// the list.
float LeastOfSigmas(double sigmas, float largest, const TokenList& list);

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_LIST_SUMS_H_
