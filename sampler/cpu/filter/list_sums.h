// Sums over the weighed tokens of a list, and where filters that depend on such sums end.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_FILTER_LIST_SUMS_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_FILTER_LIST_SUMS_H_

#include <cstddef>
#include <cstdint>

#include "sampler/arithmetic/wide_integer.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/token_list.h"

namespace token_sampler::cpu {

// log2 of the weight of token i in the units of sampler/stages/log_weight.h; its weight must not
// be 0.
int64_t Log2Weight(const TokenList& list, size_t i, const Weigher& weigher);

// The sum of weight * log2 weight.
Int128 SumLog2Weights(const TokenList& list, const Weigher& weigher);

// The sum of the squares of the weights.
Uint128 SumSquares(const TokenList& list);

// The three below give the least value that a filter keeps of a list: it keeps the longest prefix
// of the order whose tokens meet a condition, in which ties are alike. -infinity: all of them.

// weight >= threshold.
float LeastOfWeight(uint64_t threshold, const TokenList& list);

// weight > 0 and ln(weight * 2^-F) >= threshold.
float LeastOfLogWeight(double threshold, const TokenList& list, const Weigher& weigher);

// Within `sigmas` standard deviations of the largest logit; `largest` is that of the list.
float LeastOfSigmas(double sigmas, float largest, const TokenList& list);

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_FILTER_LIST_SUMS_H_
