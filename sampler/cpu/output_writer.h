// Writes what a row's result holds besides the tokens: log-probabilities, the likeliest tokens,
// ranks, extremes, the entropy, and the kept set.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_OUTPUT_WRITER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_OUTPUT_WRITER_H_

#include <cstdint>

#include "sampler/cpu/distribution.h"
#include "sampler/cpu/filter/cutoff_finder.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/token_list.h"
#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler::cpu {

// Not thread-safe. Reuses its memory from row to row.
class OutputWriter {
 public:
  explicit OutputWriter(const Kernels& kernels) : kernels_(kernels), cutoffs_(kernels) {}

  // Writes the log-probabilities, likeliest tokens, ranks, extremes and entropy of `distribution`
  // that `outputs` asks for.
  void WriteDistribution(const OutputOptions& outputs, const Distribution& distribution,
                         RowResult& result);

  // Writes the number and the set of tokens that the filters kept, if `outputs` asks for them.
  void WriteKeptSet(const OutputOptions& outputs, const Distribution& kept, RowResult& result);

 private:
  void WriteTopLogprobs(uint32_t wanted, const Distribution& distribution, double log_total,
                        RowResult& result);

  void WriteSpread(const OutputOptions& outputs, const Distribution& distribution,
                   RowResult& result);

  void WriteRanks(RankMode mode, const Distribution& distribution, RowResult& result);

  // Returns the rank of a token by a pass over the row; 0 if it is not in the distribution.
  uint32_t RankOf(uint32_t id, RankMode mode, const Distribution& distribution);

  // Sets ranks_ for all tokens by sorting them; 0 for tokens that are not in the distribution.
  void RankAll(RankMode mode, const Distribution& distribution);

  // Collects the distribution's tokens into list_.
  void ListAll(const Distribution& distribution);

  // Fills keys_ with the order keys of list_, the likeliest token first.
  void SortKeys();

  // Returns the number of the distribution's tokens with a value >= `value`.
  uint64_t CountAtLeast(float value, const Distribution& distribution);

  const Kernels& kernels_;
  CutoffFinder cutoffs_;
  TokenList list_;
  LargeVector<uint64_t> keys_;
  LargeVector<uint64_t> sorted_keys_;
  LargeVector<uint32_t> ranks_;  // per token
};

}  // namespace token_sampler::cpu

#endif  // TOKEN_SAMPLER_SAMPLER_CPU_OUTPUT_WRITER_H_
