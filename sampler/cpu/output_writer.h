// What a row's result holds besides the tokens: log-probabilities, the likeliest tokens, ranks,
// extremes, the entropy, and the kept set.

#ifndef TOKEN_SAMPLER_SAMPLER_CPU_OUTPUT_WRITER_H_
#define TOKEN_SAMPLER_SAMPLER_CPU_OUTPUT_WRITER_H_

#include <cstdint>

#include "sampler/cpu/filter/cutoff_finder.h"
#include "sampler/cpu/kernels/kernels.h"
#include "sampler/cpu/scanned_row.h"
#include "sampler/cpu/token_list.h"
#include "sampler/rows/large_memory.h"
#include "sampler/sampler.h"

namespace token_sampler::cpu {

// The tokens of a row up to one of the order, weighed.
struct Distribution {
  ScannedRow* row;
  Cutoff last;
  Weigher weigher;
  double temperature;
  uint64_t total;  // what they weigh
};

// Not thread-safe. Reuses its memory from row to row.
class OutputWriter {
 public:
  explicit OutputWriter(const Kernels& kernels) : kernels_(kernels), cutoffs_(kernels) {}

  // Log-probabilities, likeliest tokens, ranks, extremes and the entropy in `distribution`, as
  // `outputs` asks.
  void WriteDistribution(const OutputOptions& outputs, const Distribution& distribution,
                         RowResult& result);

  // The tokens that the filters kept, as `outputs` asks.
  void WriteKeptSet(const OutputOptions& outputs, const Distribution& kept, RowResult& result);

 private:
  void WriteTopLogprobs(uint32_t wanted, const Distribution& distribution, double log_total,
                        RowResult& result);

  void WriteSpread(const OutputOptions& outputs, const Distribution& distribution,
                   RowResult& result);

  void WriteRanks(RankMode mode, const Distribution& distribution, RowResult& result);

  // By a pass over the row; 0 for a token that the distribution leaves out.
  uint32_t RankOf(uint32_t id, RankMode mode, const Distribution& distribution);

  // Fills ranks_ with those of all tokens, by sorting them.
  void RankAll(RankMode mode, const Distribution& distribution);

  // Collects the distribution's tokens into list_.
  void ListAll(const Distribution& distribution);

  // Sorts the keys_ of list_, the likeliest first.
  void SortKeys();

  // The number of the distribution's tokens >= value.
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
